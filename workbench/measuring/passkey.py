"""Passkey retrieval: facts hidden in filler text and questions about them (needs no tokenizer)."""

import random
from dataclasses import dataclass

ADJECTIVES = """
amber ancient azure bitter bold brave brisk broken calm civil clever cobalt cold copper crimson curious dusty eager
early faint final frozen gentle golden grand green hidden hollow humble icy idle iron ivory jolly kind late little
lively lone loud lucky mellow mighty misty modest narrow noble odd pale patient plain proud quick quiet rapid rare
royal rusty sharp silent silver simple sleepy slow solid stark steady stern sunny swift tame tiny vast velvet vivid
warm wide wild wise
""".split()  # noqa: SIM905 - a list literal would take a line for each word
NOUNS = """
anchor arrow badger beacon bridge canyon castle cedar circle cliff comet coral crane creek delta desert dragon eagle
ember falcon feather fern field forest fox garden glacier harbor hawk heron hill island jaguar kettle lagoon lantern
lion lotus maple marsh meadow mirror moon mountain needle oak ocean orchid otter owl panther pebble pine planet
prairie raven reef river rocket saddle sail shadow sparrow spring star stone storm summit sun thunder tiger tower
tunnel valley violet wave willow wolf
""".split()  # noqa: SIM905


@dataclass(frozen=True, slots=True)
class Fact:
    """One name with its five-digit key."""

    name: str
    key: str

    @property
    def statement(self) -> str:
        """The sentence that is hidden in the text."""
        return f"The pass key of {self.name} is {self.key}.\n"

    @property
    def question(self) -> str:
        """The prompt whose continuation is ``answer``."""
        return f"What is the pass key of {self.name}? The pass key of {self.name} is"

    @property
    def answer(self) -> str:
        """What a model that found the fact says next."""
        return f" {self.key}"


def random_facts(n_facts: int, rng: random.Random) -> list[Fact]:
    """Facts with distinct names and independent random keys."""
    pairs = rng.sample(range(len(ADJECTIVES) * len(NOUNS)), n_facts)
    return [
        Fact(f"{ADJECTIVES[i // len(NOUNS)]}-{NOUNS[i % len(NOUNS)]}", f"{rng.randrange(100_000):05d}") for i in pairs
    ]

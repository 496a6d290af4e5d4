"""Closed loops on a server of any address, to which predictions under load are fitted."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from workbench.core.checks import require_each, require_positive
from workbench.core.errors import NotAvailable
from workbench.core.language import gettext
from workbench.core.runs import Run
from workbench.load.rows import LoadResult
from workbench.load.spec import LoadSpec
from workbench.simulate.load_fit import MeasuredLoad

SHORT, USUAL = (32, 64), (1024, 128)  # tokens of prompt and answer
USERS = (1, 8, 32)


@dataclass(frozen=True, slots=True, kw_only=True)
class LoadCalibration:
    """Loads to send: one user with short prompts, then as many users as are named with usual ones."""

    url: str
    model: str
    """Name under which the server offers it."""
    users: tuple[int, ...] = USERS
    seconds: float = 120.0
    """Time of all loads together."""
    tokenizer: str | None = None
    """Folder of the model's tokenizer, with which prompts are exactly as long as asked."""

    def __post_init__(self) -> None:
        require_each(self, "users")
        require_positive(self, "seconds")

    @property
    def loads(self) -> list[LoadSpec]:
        """Return the loads; more users get more of the time."""
        asked = [(1, *SHORT), *((n, *USUAL) for n in self.users)]
        shares = [1.0 + (n > 1) for n, _, _ in asked]
        return [
            LoadSpec(
                url=self.url,
                model=self.model,
                arrivals="closed",
                concurrency=n,
                duration_s=self.seconds * share / sum(shares),
                input_tokens=prompt,
                output_tokens=answer,
                tokenizer=self.tokenizer,
                calibrate=False,
            )
            for (n, prompt, answer), share in zip(asked, shares, strict=True)
        ]


def measured_loads(runs: Sequence[Run]) -> Iterator[MeasuredLoad]:
    """Yield the medians of closed loops; raises ``NotAvailable`` for one without answers of several tokens."""
    for run in runs:
        spec, result = run.asked(LoadSpec), next(iter(run.rows(LoadResult)), None)
        ttft = result.ttft_s.from_sent.p50 if result else None
        tpot = result.tpot_s.from_sent.p50 if result else None
        if result is None or not ttft or not tpot:
            cause = next(
                (f.cause for f in run.failures), gettext("The server answered no request with several tokens.")
            )
            raise NotAvailable(cause, remedy=gettext("See that `workbench load` measures this server."))
        tokens = result.tokens
        yield MeasuredLoad(
            users=spec.concurrency or 1,
            input_tokens=round(tokens.mean_input_per_request or spec.input_tokens),
            output_tokens=max(2, round(tokens.mean_output_per_request or spec.output_tokens)),
            ttft_p50_s=ttft,
            tpot_p50_s=tpot,
        )

"""The command that serves the gateway."""

import logging
import sys
from contextlib import ExitStack
from pathlib import Path
from typing import Annotated

import typer

from workbench.core.errors import InvalidSpec
from workbench.gateway.config import key_digest, read_config
from workbench.interface.readable import ReadableErrors

EXAMPLE = """# workbench gateway --config gateway.toml
deadline_s = 5.0          # longest wait of a request; one that would wait longer is refused with Retry-After
max_waiting = 256
cache_bytes = 0           # cache of answers to greedy requests; 0 disables it
# redis = "redis://..."   # limits shared by several gateways
redact = false            # replace personal data and secrets in prompts and answers
# audit = "audit.jsonl"   # a line for each request, without prompts and keys

# count_cache_hits = true # whether answers from the cache count against the rate of requests
# first_byte_timeout_s = 60.0  # of a stream; another replica is asked after it
# abandoned_answer_s = 30.0 # of an answer that is not streamed and whose client left: awaited for its usage, then stopped
# trusted_proxies = ["10.0.0.0/8"]  # whose X-Forwarded-For is believed
# a changed file is read on SIGHUP; one with an error is refused and the old one stays in use

[[upstreams]]
name = "one"
url = "http://localhost:8000"
# key_env = "UPSTREAM_KEY"  # or key_file; the key that the server requires

# [admin]                 # /metrics and /rollout; without it they are for this machine, and only without tenants
# key_digest = "sha256:..."
# port = 9090             # or: an address where no key is needed, host = "127.0.0.1" by default

# [[tenants]]             # without tenants no key is required, and limits apply to addresses
# name = "search"
# key_digest = "sha256:..."   # workbench gateway --hash-key < key.txt
# requests_per_s = 10
# tokens_per_s = 10000
# tokens_at_once = 100000

[limits]
max_prompt_tokens = 32768
max_answer_tokens = 4096  # written into requests that leave their limit out
max_total_tokens = 32768  # such as the context length of the model
# refuse_fields = ["guided_regex"]

# [[degradation]]         # applies while requests would wait longer than this
# above_wait_s = 1.0
# most_answer_tokens = 256

# [rollout]               # between upstreams with these versions; GET /rollout returns its state
# stable = "v1"
# canary = "v2"
# journal = "rollout.journal"
# power = 0.98            # with which a rise of the failures from 1 to 3 % is caught; more requests a step for more
# assignment = "request"  # or "user": users keep their version
# silence_s = 30.0        # time without content after which a streamed request counts as failed
# gold = "questions.jsonl"

[concurrency]             # adapts to the server: grows while TTFT is below the target
first = 16
target_ttft_s = 1.0       # of streams
target_answer_s = 60.0    # of answers that are not streamed
"""


def gateway(
    config: Annotated[str | None, typer.Option(help="TOML file with the configuration; --example prints one.")] = None,
    host: Annotated[str, typer.Option(help="Address on which the gateway listens.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(help="Port on which the gateway listens.")] = 8080,
    example: Annotated[bool, typer.Option("--example", help="Print an example configuration and exit.")] = False,
    hash_key: Annotated[
        bool, typer.Option("--hash-key", help="Read a key from standard input and print its digest.")
    ] = False,
) -> None:
    """Serve the gateway: keys, limits, fair queue, breakers, cache and redaction before OpenAI-compatible servers."""
    with ReadableErrors():
        if example:
            print(EXAMPLE, end="")
            return
        if hash_key:
            key = sys.stdin.readline().strip()
            if len(key) < 16:
                raise InvalidSpec("A key has fewer than 16 characters.", remedy="Make one with `openssl rand -hex 24`.")
            print(key_digest(key))
            return
        if config is None:
            raise InvalidSpec("No configuration was named.", remedy="workbench gateway --example > gateway.toml")
        settings = read_config(Path(config))
        from workbench.gateway.app import Gateway
        from workbench.gateway.serving import serve

        logging.basicConfig(level=logging.WARNING)
        with ExitStack() as stack:
            versions = None
            if settings.rollout is not None:
                from workbench.app.canary_versions import comparison_of, versions_of

                versions = versions_of(settings)
                comparing = comparison_of(settings, versions)
                if comparing is not None:
                    stack.enter_context(comparing)
            serve(Gateway(settings, versions=versions), host=host, port=port, read=lambda: read_config(Path(config)))


COMMANDS = (gateway,)

if __name__ == "__main__":  # as experiments start it: without the other commands it is there sooner
    typer.run(gateway)

"""The command that serves the gateway."""

import logging
import sys
from contextlib import ExitStack
from pathlib import Path
from typing import Annotated

import typer

from workbench.cli.readable import ReadableErrors
from workbench.core.errors import InvalidSpec
from workbench.gateway.config import key_digest, read_config

EXAMPLE = """# workbench gateway --config gateway.toml
deadline_s = 5.0          # a request that would begin later is refused at once, with Retry-After
max_waiting = 256
cache_bytes = 0           # answers to greedy questions; 0 keeps none
# redis = "redis://..."   # keeps limits for several gateways together
redact = false            # personal data and secrets, in prompts and answers
# audit = "audit.jsonl"   # a line for each request, without prompts and keys

[[upstreams]]
name = "one"
url = "http://localhost:8000"

# [[tenants]]             # without any, everybody may ask, and limits are by address
# name = "search"
# key_digest = "sha256:..."   # workbench gateway --hash-key < key.txt
# requests_per_s = 10
# tokens_per_s = 10000
# tokens_at_once = 100000

[limits]
max_prompt_tokens = 32768
max_answer_tokens = 4096
max_total_tokens = 32768

# [[degradation]]         # what is given up while requests would wait so long
# above_wait_s = 1.0
# most_answer_tokens = 256

# [rollout]               # between upstreams with these versions; GET /rollout says where it is
# stable = "v1"
# canary = "v2"
# journal = "rollout.journal"
# gold = "questions.jsonl"

[concurrency]             # follows the server: grows while first tokens come in time
first = 16
target_ttft_s = 1.0
"""


def gateway(
    config: Annotated[str | None, typer.Option(help="TOML file; --example prints one.")] = None,
    host: Annotated[str, typer.Option(help="Address to listen on.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(help="Port to listen on.")] = 8080,
    example: Annotated[bool, typer.Option("--example", help="Print a configuration and end.")] = False,
    hash_key: Annotated[
        bool, typer.Option("--hash-key", help="Read a key from standard input, print its digest.")
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
        told = read_config(Path(config))
        import uvicorn

        from workbench.gateway.app import Gateway

        logging.basicConfig(level=logging.WARNING)
        with ExitStack() as stack:
            versions = None
            if told.rollout is not None:
                from workbench.experiments.canary_versions import comparison_of, versions_of

                versions = versions_of(told)
                comparing = comparison_of(told, versions)
                if comparing is not None:
                    stack.enter_context(comparing)
            uvicorn.run(
                Gateway(told, versions=versions),
                host=host,
                port=port,
                log_level="warning",
                access_log=False,
                server_header=False,
                date_header=False,
                timeout_keep_alive=30,
                h11_max_incomplete_event_size=16_384,
            )

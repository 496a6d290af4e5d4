"""The workbench's server with a slower tokenizer, like one in plain Python: run with ``-m``; the first argument is the seconds per token."""

import sys
import time

from workbench.engines import openai_server, torch_engine


def slow_engine(seconds_per_token: float) -> type[torch_engine.TorchEngine]:
    """Return the torch engine with a tokenizer that takes longer for each token of a prompt."""

    class SlowTokenizer(torch_engine.TorchEngine):
        def _ids(self, prompt: str | tuple[int, ...]) -> tuple[int, ...]:
            ids = super()._ids(prompt)
            end = time.perf_counter() + len(ids) * seconds_per_token
            while isinstance(prompt, str) and time.perf_counter() < end:
                pass
            return ids

    return SlowTokenizer


if __name__ == "__main__":
    torch_engine.TorchEngine = slow_engine(float(sys.argv.pop(1)))  # type: ignore[misc]
    openai_server.main()

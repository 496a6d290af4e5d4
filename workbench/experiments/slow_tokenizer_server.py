"""Our server with a tokenizer that takes longer, as one in plain Python does: ``-m`` this, with the seconds per token first."""

import sys
import time

from workbench.engines import openai_server, torch_engine


def slowed(seconds_per_token: float) -> type[torch_engine.TorchEngine]:
    """The torch engine, computing so much longer for each token of a prompt."""

    class SlowTokenizer(torch_engine.TorchEngine):
        def _ids(self, prompt: str | tuple[int, ...]) -> tuple[int, ...]:
            ids = super()._ids(prompt)
            end = time.perf_counter() + len(ids) * seconds_per_token
            while time.perf_counter() < end:
                pass
            return ids

    return SlowTokenizer


if __name__ == "__main__":
    torch_engine.TorchEngine = slowed(float(sys.argv.pop(1)))  # type: ignore[misc]
    openai_server.main()

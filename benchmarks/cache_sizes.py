"""Tokens that the KV cache has room for: predicted, and as vLLM said at its start.

    python benchmarks/cache_sizes.py

Reads ``data/vllm_cache_sizes.csv`` and prints the table of docs/measured.md. What vLLM counts depends on its version:
the sampler sorted in PyTorch up to 0.10, and CUDA graphs are counted since 0.21.
"""

from dataclasses import dataclass

from workbench.catalog.csv_rows import rows_of
from workbench.catalog.formats import FORMATS
from workbench.catalog.models import model_spec_from
from workbench.catalog.tables import devices
from workbench.estimate.serving_memory import MemorySettings, context_plan

COPIES_SINCE = (((0, 26), 2.0), ((0, 19), 3.0), ((0, 11), 5.0), ((0, 0), 9.6))
GRAPHS_SINCE = (0, 21)


@dataclass(frozen=True, slots=True, kw_only=True)
class CacheSize:
    """A start of vLLM, and the size of the cache that it logged."""

    model: str
    device_id: str
    tensor_parallel: int
    weight_format: str
    kv_bits: int
    utilization: float
    max_model_len: int
    batched_tokens: int
    max_sequences: int
    is_eager: bool
    vllm: str
    cache_tokens: int
    use: str
    source: str
    date: str
    notes: str = ""

    @property
    def predicted_tokens(self) -> int:
        """Return the tokens that the workbench expects."""
        model = model_spec_from(self.model)
        version = tuple(int(n) for n in self.vllm.split(".")[:2])
        return context_plan(
            model,
            memory_bytes=devices()[self.device_id].memory_bytes,
            n_devices=self.tensor_parallel,
            weight_bits=FORMATS[self.weight_format].stored_bits(in_features=model.hidden),
            kv_bits=self.kv_bits,
            context_tokens=self.max_model_len,
            settings=MemorySettings(
                usable_fraction=self.utilization,
                chunk_tokens=self.batched_tokens,
                max_sequences=self.max_sequences,
                has_graphs=version >= GRAPHS_SINCE and not self.is_eager,
                logits_copies=next(n for since, n in COPIES_SINCE if version >= since),
            ),
        ).room_tokens

    @property
    def error(self) -> float:
        """Return the share by which the prediction is too large."""
        return self.predicted_tokens / self.cache_tokens - 1


def cache_sizes() -> list[CacheSize]:
    return rows_of("vllm_cache_sizes.csv", CacheSize)


def main() -> None:
    print("| model | devices | precision | vLLM | vLLM's tokens | predicted | error | source |")
    print("| --- | --- | --- | --- | --- | --- | --- | --- |")
    for c in cache_sizes():
        n = f"{c.tensor_parallel} × " if c.tensor_parallel > 1 else ""
        bits = c.weight_format + (", FP8 cache" if c.kv_bits == 8 else "")
        model = c.model.removeprefix("data/models/")
        print(
            f"| {model} | {n}{c.device_id} | {bits} | {c.vllm} | {c.cache_tokens:,} | {c.predicted_tokens:,} | "
            f"{100 * c.error:+.1f} % | {c.use}: {c.source} |"
        )


if __name__ == "__main__":
    main()

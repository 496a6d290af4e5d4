"""The command that estimates the memory of adapters on a device."""

from workbench.core.columns import cells_of
from workbench.interface.command import computes, print_table
from workbench.interface.readable import out
from workbench.questions.tuning.adapter_memory.findings import (
    MEMORY_COLUMNS,
    AdapterMemoryAnswer,
    adapter_memory,
    verdict,
)
from workbench.questions.tuning.adapter_memory.spec import AdapterMemorySpec


@computes(AdapterMemorySpec, adapter_memory)
def estimate(answer: AdapterMemoryAnswer) -> None:
    """Estimate the memory of adapters by rank on a device, what it leaves of the KV cache, and the price of a tenant."""
    for line in verdict(answer).lines:
        out.print(line)
    print_table(MEMORY_COLUMNS, cells_of(MEMORY_COLUMNS, answer.ranks))


COMMANDS = (estimate,)

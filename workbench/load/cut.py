"""Loads that end before all of their answers have come."""

from collections.abc import Generator, Iterator

from workbench.core.progress import Progress
from workbench.core.runs import Run
from workbench.load.messages import LoadProgress


def cut(items: Iterator[Progress | Run], end_s: float | None) -> Iterator[Progress | Run]:
    """Yield the items of a measured load, which is stopped as by Ctrl-C when its end has come; None: it runs to its own."""
    assert isinstance(items, Generator)
    for item in items:
        yield item
        live = item.result if isinstance(item, Progress) else None
        if end_s is not None and isinstance(live, LoadProgress) and live.elapsed_s > end_s:
            yield items.throw(KeyboardInterrupt)
            end_s = None

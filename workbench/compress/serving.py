"""Where a variant's process begins; light, so that the parent need not load torch."""

from typing import Any


def start_serving(*arguments: Any) -> None:
    """Run a worker with the given arguments."""
    import workbench.compress.preload  # noqa: F401  loads torch while the parent is still busy
    from workbench.compress.worker import serve

    serve(*arguments)

"""Entry point of the process of a variant; it imports torch only when called, so that the parent does not load it."""

from multiprocessing.connection import Connection
from pathlib import Path

from workbench.compress.spec import QuantizationSpec


def start_serving(
    connection: Connection, spec: QuantizationSpec, method: str, device: str, folder: Path, threads: int
) -> None:
    """Serve one variant until the connection closes; see ``serve``."""
    import workbench.compress.preload  # noqa: F401  loads torch while the parent is still busy
    from workbench.compress.worker import serve

    serve(connection, spec, method, device, folder, threads)

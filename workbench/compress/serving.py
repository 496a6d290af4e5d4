"""Where a variant's process begins; light, so that the parent need not load torch."""

import logging
import os
import warnings
from typing import Any


REFERENCE_FILE = "reference_logits.npy"  # float32, (windows, tokens, words)


def quiet_libraries() -> None:
    """Settings that keep start-up notices of the model libraries out of the log."""
    os.environ.setdefault("TORCHAO_FORCE_SKIP_LOADING_SO_FILES", "1")  # its CPU wheel has CUDA libraries only
    os.environ.setdefault("TRANSFORMERS_VERBOSITY", "error")
    os.environ.setdefault("HF_HUB_DISABLE_PROGRESS_BARS", "1")
    logging.disable(logging.WARNING)
    warnings.simplefilter("ignore")


def start_serving(*arguments: Any) -> None:
    """Run a worker with the given arguments."""
    import workbench.compress.preload  # noqa: F401  loads torch while the parent is still busy
    from workbench.compress.worker import serve

    serve(*arguments)

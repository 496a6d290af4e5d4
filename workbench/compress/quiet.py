"""Keeps start-up notices of the model libraries out of logs and notebooks."""

import logging
import os
import warnings


def quiet_libraries() -> None:
    """Set the environment of a child process; call it before the libraries are imported."""
    os.environ.setdefault("TORCHAO_FORCE_SKIP_LOADING_SO_FILES", "1")  # its CPU wheel has CUDA libraries only
    os.environ.setdefault("TRANSFORMERS_VERBOSITY", "error")
    os.environ.setdefault("HF_HUB_DISABLE_PROGRESS_BARS", "1")
    logging.disable(logging.WARNING)
    warnings.simplefilter("ignore")

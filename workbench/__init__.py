"""Inference Workbench: deployment questions about language models, answered by measurement."""

__version__ = "0.1.0"

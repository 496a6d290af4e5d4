"""Quantized checkpoints that vLLM loads."""

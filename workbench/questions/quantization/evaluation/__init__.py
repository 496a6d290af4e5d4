"""Whether quantized checkpoints and KV cache formats answer like the original model."""

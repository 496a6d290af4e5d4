"""What one way to serve a model does: latency, throughput and memory, with intervals."""

"""Which batch has the highest throughput within limits on time and memory."""

"""vLLM's steps by precision, batch and context."""

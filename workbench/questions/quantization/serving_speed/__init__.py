"""How fast vLLM decodes and prefills in each precision."""

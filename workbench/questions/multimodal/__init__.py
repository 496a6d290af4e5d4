"""TTFT with images in vLLM, by part and with caches; ``tokens`` counts and prices them, ``fusion`` combines them with text."""

"""How much calibration text GPTQ needs, and how much a whole plan degrades the model."""

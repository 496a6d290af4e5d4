"""Scripts that run in the environment of vLLM, each by itself: they import vLLM and nothing of the workbench."""

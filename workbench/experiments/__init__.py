"""Complete measurements: from a spec to a stored run."""

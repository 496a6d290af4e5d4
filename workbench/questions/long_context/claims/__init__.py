"""What the FAQ claims of long-context techniques, beside the results."""

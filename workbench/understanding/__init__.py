"""A model understood by asking it: transformers' own class on the meta device, in a process of its own."""

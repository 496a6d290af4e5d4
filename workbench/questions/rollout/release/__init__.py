"""Signed model folders: which models may be loaded."""

"""Samples of a machine as a run of its own."""

"""Runs experiments in child processes that outlive the notebook, with progress, cancel and resume."""

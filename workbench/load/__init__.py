"""Sends requests on time from a process of its own and records what came back, when."""

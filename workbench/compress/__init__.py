"""Variants of a language model in other precisions, each measured in a process of its own."""

"""Speculative decoding in PyTorch: drafts, their verification, and a cache in which each sequence has a length of its own."""

"""Tokens of an image, and the estimated cost of a request with images; nothing is measured."""

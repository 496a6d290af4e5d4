"""Estimated memory, time and price of embedding models and image classifiers."""

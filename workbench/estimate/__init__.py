"""Arithmetic that predicts memory, time and money; needs no GPU package."""

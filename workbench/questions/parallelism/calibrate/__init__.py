"""Predictions fitted to the reader's device."""

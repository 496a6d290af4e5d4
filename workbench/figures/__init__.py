"""Figures and tables: pure functions from data to what is shown."""

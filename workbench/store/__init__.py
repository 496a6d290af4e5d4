"""Runs kept on disk: one SQLite file that several notebooks may write at once."""

"""Notebooks as single HTML files that need no network and no kernel."""

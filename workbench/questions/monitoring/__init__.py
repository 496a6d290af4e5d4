"""Is my service healthy? Alert rules over a live server, and over measured loads."""

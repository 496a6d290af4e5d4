"""Signed releases of model folders: what is in them, who signed, and loading exactly what was verified."""

"""ipywidgets panels: controls that ask, a view that answers; no arithmetic."""

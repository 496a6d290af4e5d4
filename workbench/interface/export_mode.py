"""The variable under which a notebook's panels are drawn for a report."""

EXPORT_MODE = "WORKBENCH_EXPORT"

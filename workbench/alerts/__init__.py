"""Alert rules as data: one spec for the workbench's evaluator, for Prometheus and for a dashboard."""

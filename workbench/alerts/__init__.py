"""Alert rules as data: one spec for our own evaluator, for Prometheus and for a dashboard."""

"""Autoscaling rules, simulated on traces of real traffic."""

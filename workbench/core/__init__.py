"""Specs, runs, ports, statistics, units and errors that every other room builds on."""

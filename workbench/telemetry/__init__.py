"""Readings of the machine: GPUs, processor, memory and installed packages."""

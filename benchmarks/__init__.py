"""Benchmarks: commands that print times with their accuracy beside them. ``python -m benchmarks.sem``."""

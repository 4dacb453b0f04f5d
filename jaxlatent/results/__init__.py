"""Estimates as tables."""

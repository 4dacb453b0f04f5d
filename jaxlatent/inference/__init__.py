"""Engines, information matrices, batches."""

"""Fit measures, tests of fit, modification indices, reliability."""

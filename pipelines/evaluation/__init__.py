"""Evaluations: features, files of features, comparisons, the report."""

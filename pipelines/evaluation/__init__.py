"""Evaluates models: features, files of features, comparisons, the report, registration."""

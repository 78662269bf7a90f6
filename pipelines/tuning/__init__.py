"""Searching parameters with Ray Tune."""

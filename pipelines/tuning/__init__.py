"""Searches parameters with Ray Tune."""

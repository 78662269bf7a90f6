"""Runs a stage's work on a Ray cluster: as a job, or spread over its machines."""

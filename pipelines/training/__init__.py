"""Runs the trainings of :mod:`cuhs.training` on Ray Train: workers, checkpoints, progress, notices to stop."""

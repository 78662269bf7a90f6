"""Ray Train around the trainings of :mod:`cuhs.training`: workers, checkpoints, progress, notices to stop."""

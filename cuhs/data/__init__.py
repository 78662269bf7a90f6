"""From raw folders to training batches."""

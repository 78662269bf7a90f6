"""Reading dataset shards and turning them into training batches."""

"""Files by content: in an S3 bucket, on a machine's own disk, and where a training's checkpoints lie."""

"""What all pipelines share: parameters, paths, versions, the console, exit codes."""

"""One script for each claim of docs/performance.md."""

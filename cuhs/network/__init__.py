"""The three-stream network, part by part."""

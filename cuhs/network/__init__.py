"""The three-stream network and its parts."""

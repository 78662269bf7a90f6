"""Ranking features and drawing what comes out; knows features and labels, never the network."""

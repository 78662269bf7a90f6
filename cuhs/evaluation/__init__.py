"""Ranking, its measures and its reports. Works on features and labels; does not import the network."""

"""FG-Synth: procedural people in the raw layouts of the real datasets."""

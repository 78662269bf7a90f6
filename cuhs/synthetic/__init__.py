"""FG-Synth: procedurally drawn people, in the raw layouts of the real datasets."""

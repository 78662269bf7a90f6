"""The paper's tables and figures, as experiments: what they hold, how they run, what came out."""

"""What the study found: paired contrasts, intervals, learning checks."""

"""What the study found: paired contrasts, intervals, checks of leak and learning."""

"""What driver and workers agree on: specs, outcomes, errors, paths, metrics. No deep-learning library in here."""

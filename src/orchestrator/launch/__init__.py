"""One launch, from plan to report."""

"""Studies, orders, cohorts and trials small enough for a test."""

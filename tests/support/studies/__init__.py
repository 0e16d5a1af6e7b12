"""Studies, orders and trials small enough for a test."""

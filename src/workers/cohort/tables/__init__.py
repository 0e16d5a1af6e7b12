"""Any table, by a mapping."""

"""Comparators on a record's values, and the scale on which these are compared."""

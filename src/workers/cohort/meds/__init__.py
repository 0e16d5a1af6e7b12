"""MEDS folders."""

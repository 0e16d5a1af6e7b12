"""Cohorts as tables, MEDS and OMOP folders and histories, small enough for a test."""

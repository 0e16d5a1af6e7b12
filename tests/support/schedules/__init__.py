"""Drivers and workers under a clock and an executor that a test holds."""

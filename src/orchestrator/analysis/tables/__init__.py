"""Descriptive means, by supervision, arm and trial."""

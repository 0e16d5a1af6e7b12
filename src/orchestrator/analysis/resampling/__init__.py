"""Whom the bootstrap draws, and what comes of each draw."""

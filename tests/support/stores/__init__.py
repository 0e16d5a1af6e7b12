"""Stores on disk as workers and drivers leave them, and the file systems below them."""

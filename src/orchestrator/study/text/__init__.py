"""A study file as text: read, bounded, and every problem in it with its line."""

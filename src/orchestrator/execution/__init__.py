"""Trials on a cluster, and what follows a failure; the only Ray."""

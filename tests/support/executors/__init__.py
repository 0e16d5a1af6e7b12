"""Executors that run launches in the process of a test, and what every executor must hold."""

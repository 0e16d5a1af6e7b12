"""Faults injected into real launches; `make test-faults`."""

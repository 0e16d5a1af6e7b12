"""The rationale audit."""

"""The `sweep` command: parses, composes, prints."""

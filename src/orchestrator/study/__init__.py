"""YAML to a typed study, or every problem at once."""

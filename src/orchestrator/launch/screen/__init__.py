"""What a launch shows while it runs."""

"""What a worker answers outside a launch."""

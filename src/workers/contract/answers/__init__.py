"""What a worker is asked outside a launch, and answers."""

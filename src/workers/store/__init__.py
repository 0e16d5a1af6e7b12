"""What a worker writes into a store."""

"""What an attempt works with."""

"""What is hashed into ids."""

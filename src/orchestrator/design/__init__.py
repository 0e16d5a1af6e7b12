"""What a study asks for and what is left of it: pure."""

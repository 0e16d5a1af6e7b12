"""Commands, launches and servers as processes of their own."""

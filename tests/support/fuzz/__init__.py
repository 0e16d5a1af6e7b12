"""Hostile inputs by the hundred thousand: how they are made, and what is seen of a reader that gets them."""

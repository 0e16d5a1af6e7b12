"""Base models, adapters on them, and the DeepSpeed engine that trains them."""

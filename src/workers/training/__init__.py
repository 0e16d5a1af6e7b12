"""Adapters: steps, objectives, the way through a training."""

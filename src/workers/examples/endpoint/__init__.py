"""Teachers that are language models: one behind an endpoint, and what one that runs here has in common with it."""

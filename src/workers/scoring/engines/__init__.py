"""Other back ends that write: a library's own batching from prompts to token ids; what is read stays ours."""

"""Models, tokenizers and architectures that people might bring, small enough for a test."""

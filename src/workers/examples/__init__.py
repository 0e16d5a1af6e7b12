"""Events to text: prompts, targets, rationales, tokens."""

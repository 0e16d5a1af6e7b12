"""How somebody else's model is read: its files, its architecture, every tensor, its tokenizer; refused where unsure."""

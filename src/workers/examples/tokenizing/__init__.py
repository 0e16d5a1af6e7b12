"""From text to token ids: what stands around a record, what parts a thought, how data text stays text."""

"""`sweep explain`: one trial of a study or a store, its state and why."""

"""The trials of one launch, from their orders to what follows a failure."""

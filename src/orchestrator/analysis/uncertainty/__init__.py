"""What a difference would be with other participants, seeds, draws and bases, and where in the design it holds."""

"""What a store holds: who drives it, what is committed, what may go."""

"""A restore in place: its frame, its proof, and data directories set aside."""

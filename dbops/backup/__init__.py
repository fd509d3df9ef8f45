"""What engines share of a backup into restic: its frame, what it asks an engine, the catalogue."""

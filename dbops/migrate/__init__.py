"""What engines share of a migration: the note on the host that carries it out."""

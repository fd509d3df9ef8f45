"""What engines share of a restore: data directories set aside."""

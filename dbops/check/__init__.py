"""What engines share of their checks."""

"""What engines share of their audits: what a control is, and those of every host."""

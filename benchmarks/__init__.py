"""Ratios against the bare tools, in one run on one machine. ``make bench`` runs it."""

"""Operate databases and prove their backups by restoring them."""

__version__ = "0.1.0"

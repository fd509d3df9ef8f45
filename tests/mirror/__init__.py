"""A mirror of packages on hosts of its own."""

"""The repository in restic, its catalogue, and the seal of one that is not in restic."""

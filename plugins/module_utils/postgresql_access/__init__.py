"""Logic of the module ``postgresql_access``: from a declaration and the catalogue to SQL."""

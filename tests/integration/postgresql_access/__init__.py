"""The module ``postgresql_access`` against a private PostgreSQL."""

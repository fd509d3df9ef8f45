"""Bring accounts, roles, databases and grants of a MariaDB server exactly to what is declared."""

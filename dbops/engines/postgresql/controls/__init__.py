"""The hardening controls PG-01 to PG-30, by theme; the module ``audit`` runs them."""

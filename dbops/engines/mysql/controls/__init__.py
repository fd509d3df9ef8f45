"""The hardening controls MY-01 to MY-28, by theme; the module ``audit`` runs them."""

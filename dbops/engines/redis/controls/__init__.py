"""The hardening controls of Redis and Valkey, by what they look at."""

"""End-to-end tests on real hosts. They need root and podman; see ``lab``."""

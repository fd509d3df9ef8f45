"""The exporter: it reads the engines, so it stands above them."""

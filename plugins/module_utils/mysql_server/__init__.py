"""What the modules of MySQL and MariaDB share."""

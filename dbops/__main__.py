"""``python -m dbops``."""

from dbops.cli import main

main()

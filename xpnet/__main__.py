"""``python -m xpnet``: the command ``xpnet``."""

from xpnet.cli import main

main()

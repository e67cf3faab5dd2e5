"""``python -m xpnet.book SCRIPT.py``: the command ``xpnet book``."""

import runpy
import sys

sys.argv[1:1] = ["book"]
runpy.run_module("xpnet", run_name="__main__", alter_sys=True)

"""What comes with NumPy's namespace: what takes long and computes nothing is imported when somebody wants it."""

from __future__ import annotations

import subprocess
import sys

CODE = """
import sys
import xpnet
xp, np = xpnet.get_backend("numpy").xp, sys.modules["numpy"]
heavy = {"numpy.f2py", "numpy.testing", "numpy.ma", "numpy.polynomial"}
print(sorted(heavy & sys.modules.keys()))
print(xp.ma.masked_array is np.ma.masked_array, np.ma is sys.modules["numpy.ma"], xp.testing.assert_equal(1, 1))
from numpy import polynomial
print(polynomial is sys.modules["numpy.polynomial"], xp.polynomial.Polynomial is polynomial.Polynomial)
"""


def test_parts_of_numpy_that_no_network_needs_are_imported_when_they_are_asked_for():
    done = subprocess.run([sys.executable, "-c", CODE], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (0, "[]\nTrue True None\nTrue True\n"), done.stderr


def test_parts_that_are_there_already_are_the_ones_in_the_namespace():
    code = "import numpy.ma; import xpnet; print(xpnet.get_backend('numpy').xp.ma is numpy.ma)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (0, "True\n"), done.stderr

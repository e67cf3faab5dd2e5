"""scikit-learn is optional: xpnet does not import it, and says what to install."""

from __future__ import annotations

import subprocess
import sys


def run(code):
    return subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)


def test_xpnet_does_not_import_it():
    done = run("import sys, xpnet; print({'sklearn', 'xpnet.sklearn'} & sys.modules.keys())")
    assert (done.returncode, done.stdout) == (0, "set()\n"), done.stderr


def test_without_it_the_message_says_what_to_install():
    done = run("import sys; sys.modules['sklearn'] = None; import xpnet.sklearn")
    last = done.stderr.splitlines()[-1]
    assert last.startswith("ImportError: xpnet.sklearn needs scikit-learn 1.6 or newer (")
    assert last.endswith('); pip install "xpnet[sklearn]"')

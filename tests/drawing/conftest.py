"""A page's server in this process, on a port of its own."""

from __future__ import annotations

import threading
from contextlib import contextmanager

import pytest

from xpnet.drawing import PageServer, Preparation, Samples


@contextmanager
def running(make, read, **options):
    """A server whose network ``make`` gives, and whose samples ``read``."""
    preparation = Preparation(make, lambda net: f"{type(net).__name__} of a test")
    with PageServer(preparation, Samples(read), **options) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        preparation.start()
        try:
            yield server
        finally:
            server.shutdown()
            preparation.end()
            thread.join()


@pytest.fixture(scope="session")
def serve():
    return running

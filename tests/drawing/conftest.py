"""The page's server in this process, on a port of its own; and a browser that opens it, where there is one."""

from __future__ import annotations

import shutil
import threading
from contextlib import contextmanager

import numpy as np
import pytest
from pages import ready

from xpnet import SGD, Trainer, TwoLayerNet
from xpnet.drawing import PageServer, Preparation, Samples

BROWSERS = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")


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


@pytest.fixture(scope="module")  # not longer: its event loop is that of the thread
def browser():
    sync = pytest.importorskip("playwright.sync_api", reason="Playwright drives the browser: pip install playwright")
    path = next(filter(None, map(shutil.which, BROWSERS)), None)
    if path is None:
        pytest.skip(f"no browser is installed: {', '.join(BROWSERS)}")
    with sync.sync_playwright() as driver:
        browser = driver.chromium.launch(executable_path=path, args=["--no-sandbox", "--disable-gpu"])
        yield browser
        browser.close()


@pytest.fixture(scope="module")
def test_digits(browser, digits):
    x, t = digits[1]
    return np.rint(x * 255).astype(np.uint8), t


@pytest.fixture(scope="module")
def network(browser, digits):
    net = TwoLayerNet(784, 50, 10, seed=0, backend="numpy")
    Trainer(net, SGD(lr=0.1), seed=0).fit(*digits[0], iterations=3000, evaluate="never", progress=False)
    return net


@pytest.fixture(scope="module")
def page_server(serve, network, test_digits):
    with serve(lambda _: network, lambda: test_digits) as running:
        yield running


@pytest.fixture
def open_page(browser):
    """``open_page(server, **context)``: the page, whose console has to stay empty, and which asks nobody else."""
    opened, wrong = [], []

    def opening(server, **context):
        options = {"locale": "en-US", "viewport": {"width": 1280, "height": 900}} | context
        opened.append(browser.new_context(**options))
        page = opened[-1].new_page()
        page.on("console", lambda message: wrong.append(message.text))
        page.on("pageerror", lambda error: wrong.append(str(error)))
        page.on("request", lambda r: r.url.startswith(server.address) or wrong.append(r.url))
        page.goto(server.address)
        return page

    yield opening
    for context in opened:
        context.close()
    assert not wrong


@pytest.fixture
def page(open_page, page_server):
    return ready(open_page(page_server))

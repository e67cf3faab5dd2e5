"""The page in a browser, for everybody whom it is for, and for nobody else."""

from __future__ import annotations

import re

import pytest
from pages import DRAWN, answer, draw, ready, settled, until

from xpnet import SGD, Trainer, TwoLayerNet


def test_every_control_is_reached_by_tab_and_has_a_name(page):
    draw(page, DRAWN[3])
    answer(page)
    page.locator("[data-language=en]").focus()
    reached = []
    for _ in range(60):
        page.keyboard.press("Tab")
        focused = page.evaluate(
            """() => {
                const e = document.activeElement;
                const label = e.labels?.[0]?.textContent;
                return e === document.body ? null : [e.id, e.getAttribute("aria-label") || label || e.textContent];
            }"""
        )
        if focused is None:
            break
        assert focused[1].strip()
        reached.append(focused[0])
    assert {"paper", "undo", "clear", "why"} <= set(reached)
    assert len(reached) >= 1 + 3 + 10 + 10 + 1  # the other language; paper and tools; digits of MNIST; bars; reasons


def test_a_reader_of_the_screen_is_told(page):
    page.locator("#paper").focus()
    page.keyboard.press("3")
    status = page.get_by_role("status")
    status.filter(has_text=re.compile(r"^3, with [\d.]+%$")).wait_for()
    page.keyboard.press("Space")
    assert status.text_content() == "Pen down"


@pytest.mark.parametrize(("locale", "title"), [("ja-JP", "ネットワークが見る画像"), ("de-DE", "What the network sees")])
@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("size", [(360, 740), (1280, 900)])
def test_languages_schemes_and_sizes(locale, title, scheme, size, open_page, page_server):
    width, height = size
    viewport = {"width": width, "height": height}
    page = ready(open_page(page_server, locale=locale, color_scheme=scheme, viewport=viewport))
    draw(page, DRAWN[3])
    page.locator("#why").check()
    settled(page)
    assert page.get_by_text(title, exact=True).is_visible()
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    ground = page.evaluate("getComputedStyle(document.body).backgroundColor")
    assert (sum(map(int, re.findall(r"\d+", ground))) < 200) == (scheme == "dark")
    picture = "document.getElementById('seen').toDataURL()"
    before = page.evaluate(picture)
    page.emulate_media(color_scheme="dark" if scheme == "light" else "light")
    until(lambda: page.evaluate(picture) != before)
    page.get_by_role("button", name="日本語").click()
    assert page.locator("html").get_attribute("lang") == "ja"
    assert page.get_by_role("button", name="消去").is_visible()
    page.get_by_role("button", name="English").click()
    assert page.get_by_role("button", name="Clear").is_visible()


def test_a_training_and_its_failure_are_shown(open_page, serve, some_digits, test_digits):
    def make(told):
        net = TwoLayerNet(784, 3, 10, seed=0, backend="numpy")
        validated = {"validation": some_digits[1], "progress": False}
        Trainer(net, SGD(lr=0.1), seed=0).fit(*some_digits[0], iterations=10**9, callbacks=[told], **validated)
        raise ValueError("the loss is not finite")

    with serve(make, lambda: test_digits) as server:
        page = open_page(server)
        told = r"[\d,]+ of 1,000,000,000 steps, \d+% of the test digits read, about [\d,]+ min left"
        page.get_by_text(re.compile(told)).wait_for()
        assert page.get_by_role("progressbar").is_visible()
        assert not page.locator("#answer").is_visible()
        server.preparation._ended.set()
        alert = page.get_by_role("alert")
        alert.wait_for()
        assert alert.text_content() == "The training failed: ValueError: the loss is not finite"
        assert not page.get_by_role("progressbar").is_visible()


def test_a_page_that_is_left_behind_says_so(browser, serve, network, test_digits):
    context = browser.new_context(locale="en-US")
    page = context.new_page()
    with serve(lambda _: network, lambda: test_digits) as server:
        page.goto(server.address)
        ready(page)
    draw(page, DRAWN[1])
    page.get_by_text("xpnet draw does not respond").wait_for()
    context.close()


def test_without_the_token_there_is_no_page(browser, page_server):
    context = browser.new_context()
    page = context.new_page()
    for address in (
        page_server.address.replace(page_server.token, "x"),
        page_server.address.replace(page_server.token + "/", ""),
    ):
        response = page.goto(address)
        assert response.status == 403
        assert "whole address" in page.text_content("body")
        assert page.locator("canvas").count() == 0
    context.close()


@pytest.mark.parametrize("other", ["http://other.example/", "http://127.0.0.1:9/"])
def test_another_page_gets_nothing(other, browser, page_server):
    """Even one that knows the token: neither by asking, nor in a frame, nor as a script."""
    context = browser.new_context()
    page = context.new_page()
    page.route(other, lambda route: route.fulfill(body="<p>other", content_type="text/html"))
    page.goto(other)
    asked = """async ([url, options]) => {
        try { return (await fetch(url, options)).status } catch (error) { return error.name }
    }"""
    body = {"method": "POST", "body": "x" * 784, "headers": {"Content-Type": "application/octet-stream"}}
    assert page.evaluate(asked, [page_server.address + "state", {}]) == "TypeError"
    assert page.evaluate(asked, [page_server.address + "answer", body]) == "TypeError"
    assert page.evaluate(asked, [page_server.address + "state", {"mode": "no-cors"}]) == "TypeError"
    loaded = """(url) => new Promise((resolve) => {
        const script = document.createElement("script");
        script.onload = () => resolve("loaded");
        script.onerror = () => resolve("refused");
        script.src = url;
        document.body.append(script);
    })"""
    assert page.evaluate(loaded, page_server.address + "words.js") == "refused"
    page.set_content(f'<iframe src="{page_server.address}"></iframe>')
    (frame,) = page.main_frame.child_frames
    frame.wait_for_load_state()
    assert frame.locator("#paper").count() == 0
    context.close()

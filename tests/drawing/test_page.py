"""The page in a browser: digits are drawn by mouse, finger, pen and keys, and the answers read off it."""

from __future__ import annotations

import re
import shutil
from functools import partial

import numpy as np
import pytest
from strokes import strokes_of

from xpnet import SGD, Sequential, SimpleConvNet, Trainer, TwoLayerNet
from xpnet.drawing.answers import picture_of
from xpnet.layers import Affine

BROWSERS = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
SIDE = 280

#: Each digit as somebody may draw it, in units of the paper.
DRAWN = {
    0: [[(140, 45), (95, 75), (80, 140), (95, 205), (140, 235), (185, 205), (200, 140), (185, 75), (140, 45)]],
    1: [[(145, 40), (140, 140), (135, 240)]],
    2: [[(85, 85), (110, 50), (160, 48), (190, 80), (180, 120), (130, 175), (85, 228), (140, 225), (205, 225)]],
    3: [[(90, 62), (140, 42), (185, 70), (172, 115), (130, 135), (180, 155), (192, 200), (145, 235), (85, 215)]],
    4: [[(100, 45), (85, 100), (80, 145), (130, 148), (195, 140)], [(185, 50), (180, 140), (172, 240)]],
    5: [[(190, 48), (105, 48), (98, 125), (150, 115), (190, 150), (185, 205), (140, 235), (85, 220)]],
    6: [[(165, 42), (115, 100), (92, 165), (105, 220), (145, 238), (185, 210), (180, 170), (145, 155), (100, 180)]],
    7: [[(80, 60), (140, 55), (200, 55), (165, 130), (140, 190), (128, 240)]],
    8: [
        [(175, 60), (130, 42), (100, 75), (130, 120), (175, 165), (180, 215), (138, 238), (98, 210), (110, 165)],
        [(110, 165), (150, 125), (185, 90), (175, 60)],
    ],
    9: [[(185, 85), (145, 50), (100, 75), (100, 120), (145, 130), (183, 90), (182, 150), (165, 240)]],
}


@pytest.fixture(scope="module")
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
def test_digits(digits):
    x, t = digits[1]
    return np.rint(x * 255).astype(np.uint8), t


@pytest.fixture(scope="module")
def network(digits):
    net = TwoLayerNet(784, 50, 10, seed=0, backend="numpy")
    Trainer(net, SGD(lr=0.1), seed=0).fit(*digits[0], iterations=3000, evaluate="never", progress=False)
    return net


@pytest.fixture(scope="module")
def server(serve, network, test_digits):
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
def page(open_page, server):
    return ready(open_page(server))


def ready(page):
    page.locator("#bars button").first.wait_for()
    return page


def places(page, stroke):
    box = page.locator("#paper").bounding_box()
    return [(box["x"] + x * box["width"] / SIDE, box["y"] + y * box["height"] / SIDE) for x, y in stroke]


def draw(page, strokes):
    for stroke in strokes:
        first, *rest = places(page, stroke)
        page.mouse.move(*first)
        page.mouse.down()
        for place in rest:
            page.mouse.move(*place)
        page.mouse.up()


def answer(page):
    """What the page answers once it has answered to the latest drawing."""
    settled(page)
    return page.locator("#best").text_content()


def settled(page):
    page.locator("body[data-busy=false]").wait_for(state="attached")


def scores(net, pixels):
    return net.predict((pixels / 255).astype("float32").reshape(1, 784))[0]


def test_strokes_of_known_digits_are_read(page):
    found = {}
    for digit, strokes in DRAWN.items():
        draw(page, strokes)
        found[digit] = answer(page)
        page.locator("#clear").click()
    assert found == {digit: str(digit) for digit in DRAWN}


def test_digits_of_mnist_drawn_as_strokes_have_the_answers_of_python(page, network, test_digits):
    same = 0
    for pixels in test_digits[0][:100]:
        strokes = [[(10 * x, 10 * y) for x, y in stroke] for stroke in strokes_of(pixels.reshape(28, 28))]
        draw(page, strokes)
        same += answer(page) == str(np.argmax(scores(network, pixels)))
        page.keyboard.press("Delete")
    assert same >= 90


def test_digits_of_mnist_taken_have_exactly_the_answers_of_python(page, network, test_digits):
    x, t = test_digits
    for digit in (7, 2, 1, 0, 4, 5):
        page.get_by_role("button", name=f"A {digit} of MNIST").click()
        page.get_by_text(f"test digit {np.flatnonzero(t == digit)[0]}, a {digit}").wait_for()
        expected = scores(network, x[np.flatnonzero(t == digit)[0]])
        assert answer(page) == str(np.argmax(expected))
    page.get_by_role("button", name="A 5 of MNIST").click()
    page.get_by_text(f"test digit {np.flatnonzero(t == 5)[1]}, a 5").wait_for()


def test_pixels_on_the_paper_are_those_that_python_gets(page, server, network):
    """What the browser paints is sent as it is: Python's answer to the same bytes is what is shown."""
    with page.expect_request("**/answer*") as sent:
        draw(page, [DRAWN[3][0][:2]])
    settled(page)
    with page.expect_request("**/answer*") as sent:
        draw(page, [DRAWN[3][0][2:]])
        settled(page)
    body = sent.value.post_data_buffer
    assert len(body) == SIDE * SIDE
    with page.expect_response("**/answer*") as response:
        page.locator("#why").check()
    body = response.value.request.post_data_buffer
    told = response.value.json()
    assert told["answer"] == np.argmax(scores(network, picture_of(body)))


def test_the_answer_comes_while_one_draws_one_request_at_a_time(page):
    open_, most = set(), []
    page.on("request", lambda request: (open_.add(request), most.append(len(open_))))
    page.on("requestfinished", lambda request: open_.discard(request))
    first, *rest = places(page, DRAWN[1][0])
    page.mouse.move(*first)
    page.mouse.down()
    for place in rest:
        page.mouse.move(*place, steps=20)
    assert answer(page) == "1"
    assert max(most) == 1
    assert len(most) < 60
    page.mouse.up()


@pytest.mark.parametrize("kind", ["touch", "pen"])
def test_fingers_and_pens_draw(kind, open_page, server):
    page = ready(open_page(server, has_touch=True, viewport={"width": 390, "height": 844}))
    if kind == "touch":
        session = page.context.new_cdp_session(page)

        def send(name, *points):
            touches = [{"x": x, "y": y, "id": i} for i, (x, y) in enumerate(points)]
            session.send("Input.dispatchTouchEvent", {"type": name, "touchPoints": touches})

        first, *rest = places(page, DRAWN[7][0])
        send("touchStart", first)
        for place in rest:
            send("touchMove", place, (100, 300))  # a second finger draws nothing
        send("touchEnd")
        assert page.evaluate("scrollY") == 0
    else:
        for name, place in zip(
            ["pointerdown", *["pointermove"] * 5, "pointerup"], [*places(page, DRAWN[7][0]), (0, 0)], strict=True
        ):
            page.evaluate(
                """([name, [clientX, clientY]]) => {
                    const paper = document.getElementById("paper");
                    paper.setPointerCapture = () => {}; // there is no such pointer
                    const about = { clientX, clientY, pointerId: 7, pointerType: "pen", bubbles: true };
                    paper.dispatchEvent(new PointerEvent(name, about));
                }""",
                [name, place],
            )
    assert answer(page) == "7"


def test_undo_and_clear(page):
    draw(page, DRAWN[4])
    assert answer(page) == "4"
    page.keyboard.press("Control+z")
    settled(page)
    page.locator("#undo").click()
    assert answer(page) == "–"
    assert page.locator("#undo").is_disabled()
    draw(page, DRAWN[4])
    page.locator("#clear").click()
    assert answer(page) == "–"
    assert page.locator("#bars button").first.is_disabled()


def test_keys_draw_and_take_digits(page):
    page.locator("#paper").focus()
    page.keyboard.press("ArrowUp")
    for _ in range(8):
        page.keyboard.press("ArrowUp")
    page.keyboard.press("Space")
    for _ in range(18):
        page.keyboard.press("ArrowDown")
    page.keyboard.press("Space")
    assert answer(page) == "1"
    page.keyboard.press("Backspace")
    assert answer(page) == "–"
    page.keyboard.press("7")
    page.get_by_text("a 7").wait_for()
    assert answer(page) == "7"
    page.keyboard.press("Delete")
    assert answer(page) == "–"


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


def test_reasons_are_given_on_request_for_any_class(page):
    draw(page, DRAWN[3])
    answer(page)
    colours = partial(page.evaluate, "new Set(document.getElementById('reasons').toDataURL()).size")
    with page.expect_request("**/answer*") as sent:
        page.get_by_role("checkbox", name="What speaks for it").check()
    assert "reasons=-1" in sent.value.url
    page.get_by_text("makes 3 likelier").wait_for()
    assert colours() > 1
    with page.expect_request("**/answer*") as sent:
        page.locator("#bars button").nth(8).click()
    assert "reasons=8" in sent.value.url
    page.get_by_text("makes 8 likelier").wait_for()
    assert page.locator("#bars [aria-pressed=true]").count() == 1
    page.locator("#bars button").nth(8).click()
    page.get_by_text("How each pixel changes the score").wait_for()


def test_layers_of_convolutional_networks_can_be_chosen(open_page, serve, test_digits):
    net = SimpleConvNet(conv_param={"filter_num": 6}, hidden_size=12, seed=0, backend="numpy")
    with serve(lambda _: net, lambda: test_digits) as server:
        page = ready(open_page(server))
        draw(page, DRAWN[3])
        page.get_by_text("6 feature maps behind Conv1, Relu1").wait_for()
        page.get_by_label("Layer").select_option("Affine1, Relu2")
        page.get_by_text("12 units behind Affine1, Relu2").wait_for()


def test_networks_of_many_classes_and_of_one_layer(open_page, serve, test_digits):
    with serve(lambda _: Sequential([Affine(784, 26)], seed=0, backend="numpy"), lambda: test_digits) as server:
        page = ready(open_page(server))
        draw(page, DRAWN[3])
        assert answer(page).isdecimal()
        assert page.locator("#bars button").count() == 26
        page.get_by_text("no hidden layers").wait_for()


@pytest.mark.parametrize(("locale", "title"), [("ja-JP", "ネットワークが見る画像"), ("de-DE", "What the network sees")])
@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("size", [(360, 740), (1280, 900)])
def test_languages_schemes_and_sizes(locale, title, scheme, size, open_page, server):
    width, height = size
    viewport = {"width": width, "height": height}
    page = ready(open_page(server, locale=locale, color_scheme=scheme, viewport=viewport))
    draw(page, DRAWN[3])
    page.locator("#why").check()
    settled(page)
    assert page.get_by_text(title, exact=True).is_visible()
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    ground = page.evaluate("getComputedStyle(document.body).backgroundColor")
    assert (sum(map(int, re.findall(r"\d+", ground))) < 200) == (scheme == "dark")
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
        page.get_by_text(re.compile(r"[\d,]+ of 1,000,000,000 steps, \d+% of the test digits read")).wait_for()
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


def test_without_the_token_there_is_no_page(browser, server):
    context = browser.new_context()
    page = context.new_page()
    for address in (server.address.replace(server.token, "x"), server.address.replace(server.token + "/", "")):
        response = page.goto(address)
        assert response.status == 403
        assert "whole address" in page.text_content("body")
        assert page.locator("canvas").count() == 0
    context.close()


def test_another_page_gets_nothing(browser, server):
    """Even one that knows the token: neither by asking, nor in a frame, nor as a script."""
    context = browser.new_context()
    page = context.new_page()
    page.route("http://other.example/", lambda route: route.fulfill(body="<p>other", content_type="text/html"))
    page.goto("http://other.example/")
    asked = """async ([url, options]) => {
        try { return (await fetch(url, options)).status } catch (error) { return error.name }
    }"""
    body = {"method": "POST", "body": "x" * 784, "headers": {"Content-Type": "application/octet-stream"}}
    assert page.evaluate(asked, [server.address + "state", {}]) == "TypeError"
    assert page.evaluate(asked, [server.address + "answer", body]) == "TypeError"
    assert page.evaluate(asked, [server.address + "state", {"mode": "no-cors"}]) == "TypeError"
    loaded = """(url) => new Promise((resolve) => {
        const script = document.createElement("script");
        script.onload = () => resolve("loaded");
        script.onerror = () => resolve("refused");
        script.src = url;
        document.body.append(script);
    })"""
    assert page.evaluate(loaded, server.address + "words.js") == "refused"
    context.close()

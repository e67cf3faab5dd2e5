"""The page in a browser: digits are drawn by mouse, finger, pen and keys, and the answers read off it."""

from __future__ import annotations

from functools import partial

import numpy as np
import pytest
from pages import DRAWN, SIDE, answer, draw, places, ready, scores, settled
from strokes import strokes_of

from xpnet import Sequential, SimpleConvNet
from xpnet.drawing.answers import picture_of
from xpnet.layers import Affine


def test_strokes_of_known_digits_are_read(page):
    found = {}
    for digit, strokes in DRAWN.items():
        draw(page, strokes)
        found[digit] = answer(page)
        page.locator("#clear").click()
    assert found == {digit: str(digit) for digit in DRAWN}


@pytest.mark.slow
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
        page.get_by_role("button", name=f"Digit {digit} of MNIST").click()
        page.get_by_text(f"test digit {np.flatnonzero(t == digit)[0]}, labelled {digit}").wait_for()
        expected = scores(network, x[np.flatnonzero(t == digit)[0]])
        assert answer(page) == str(np.argmax(expected))
    page.get_by_role("button", name="Digit 5 of MNIST").click()
    page.get_by_text(f"test digit {np.flatnonzero(t == 5)[1]}, labelled 5").wait_for()


def test_pixels_on_the_paper_are_those_that_python_gets(page, network):
    """What the browser paints is sent as it is: Python's answer to the same bytes is what is shown."""
    draw(page, DRAWN[3])
    settled(page)
    with page.expect_response("**/answer*") as response:
        page.locator("#why").check()
    body = response.value.request.post_data_buffer
    assert len(body) == SIDE * SIDE
    assert response.value.json()["answer"] == np.argmax(scores(network, picture_of(body)))
    assert answer(page) == str(response.value.json()["answer"])


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
def test_fingers_and_pens_draw(kind, open_page, page_server):
    page = ready(open_page(page_server, has_touch=True, viewport={"width": 390, "height": 844}))
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
    page.get_by_text("labelled 7").wait_for()
    assert answer(page) == "7"
    page.keyboard.press("Delete")
    assert answer(page) == "–"


def test_reasons_are_given_on_request_for_any_class(page):
    draw(page, DRAWN[3])
    answer(page)
    picture = partial(page.evaluate, "document.getElementById('reasons').toDataURL()")
    none = picture()
    with page.expect_request("**/answer*") as sent:
        page.get_by_role("checkbox", name="What speaks for it").check()
    assert "reasons=-1" in sent.value.url
    page.get_by_text("makes 3 likelier").wait_for()
    of_answer = picture()
    assert of_answer != none
    with page.expect_request("**/answer*") as sent:
        page.locator("#bars button").nth(8).click()
    assert "reasons=8" in sent.value.url
    page.get_by_text("makes 8 likelier").wait_for()
    assert picture() not in (none, of_answer)
    assert page.locator("#bars [aria-pressed=true]").count() == 1
    page.locator("#bars button").nth(8).click()
    page.get_by_text("How each pixel changes the score").wait_for()
    assert picture() == none


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

"""A digit drawn on the page of ``xpnet draw``, and the answer read off it."""

from __future__ import annotations

import time

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


def until(condition, seconds=30):
    """Wait until a condition holds."""
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "it takes too long"
        time.sleep(0.01)

"""The page's files: as many words in both languages, and colours that can be read."""

from __future__ import annotations

import re
from importlib import resources

import pytest

PAGE = resources.files("xpnet.drawing") / "page"
WORDS, STYLE, HTML, MAIN = (
    PAGE.joinpath(name).read_text("utf-8") for name in ("words.js", "page.css", "page.html", "main.js")
)


def words(language):
    """The texts of a language by their names, as they are written."""
    (block,) = re.findall(rf"^const {language} = {{\n(.*?)^}};", WORDS, re.MULTILINE | re.DOTALL)
    return dict(re.findall(r"^  (\w+): (.*?),?$(?=\n  \w|\n?\Z)", block, re.MULTILINE | re.DOTALL))


def test_both_languages_say_the_same_things():
    english, japanese = words("english"), words("japanese")
    assert english.keys() == japanese.keys()
    for name, text in english.items():
        assert takes(text) == takes(japanese[name])


def takes(text):
    """What a text is made with."""
    return re.findall(r"^\((.*?)\) =>", text), {*re.findall(r"\$\{(\w+)", text)}


def test_every_word_that_is_used_is_there():
    used = {*re.findall(r'data-(?:word|label)="(\w+)"', HTML), *re.findall(r"(?<!/)words\.(\w+)", MAIN)}
    assert used <= words("english").keys()
    assert len(used) > 20
    assert len(words("english")) > 30


def luminance(colour):
    """Relative luminance, as WCAG 2.2 defines it."""
    shares = [int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5)]
    linear = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in shares]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


def contrast(one, other):
    low, high = sorted((luminance(one), luminance(other)))
    return (high + 0.05) / (low + 0.05)


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_colours_can_be_told_apart(scheme):
    first, second = re.findall(r":root {(.*?)}", STYLE, re.DOTALL)
    colours = dict(re.findall(r"--(\w+): (#\w{6})", first if scheme == "light" else second))
    for ground in (colours["ground"], colours["sheet"]):
        for text in ("text", "quiet", "more"):
            assert contrast(colours[text], ground) >= 4.5
        for shape in ("edge", "less"):
            assert contrast(colours[shape], ground) >= 3
    assert contrast(colours["more"], colours["line"]) >= 3

"""Pictures of what a classifier gets wrong."""

from __future__ import annotations

import numpy as np
import pytest
from matplotlib.figure import Figure

from xpnet import plotting

IMAGES = np.arange(5 * 9).reshape(5, 9) / 44
LABELS = np.array([0, 1, 2, 0, 1], np.uint8)
#: Samples 1, 3 and 4 are wrong; 3 is furthest from right, then 1.
SCORES = np.array([[4, 0, 0], [3, 0, 0], [0, 1, 2], [0, 9, 0], [0, 0, 1]], np.float32)


def texts(ax):
    return [text.get_text() for text in ax.texts]


def test_the_worst_mistakes_come_first_with_their_probability(array):
    ax = plotting.mistakes(array(IMAGES), array(LABELS), array(SCORES))
    p = [np.exp(s).max() / np.exp(s).sum() for s in SCORES.astype(float)]
    assert texts(ax) == [f"0 → 1 p={p[3]:.2f}", f"1 → 0 p={p[1]:.2f}", f"1 → 2 p={p[4]:.2f}"]
    for image, i in zip(ax.images, [3, 1, 4], strict=True):
        np.testing.assert_allclose(image.get_array(), IMAGES[i].reshape(3, 3))
    assert ax.get_title() == "3 of 5 misclassified"
    words = ax.get_legend().get_title().get_text()
    assert words.startswith("true → predicted, with the probability of what was predicted")
    assert words.endswith("the least probability for the truth first")


def test_no_more_mistakes_are_shown_than_asked_for():
    given = Figure().subplots()
    ax = plotting.mistakes(IMAGES, LABELS, SCORES, given, count=2)
    assert ax is given
    assert len(ax.images) == 2
    assert ax.get_title() == "3 of 5 misclassified, the worst 2"


def test_where_nothing_is_wrong_nothing_is_shown():
    ax = plotting.mistakes(IMAGES[[0, 2]], LABELS[[0, 2]], SCORES[[0, 2]])
    assert (len(ax.images), ax.get_title()) == (0, "0 of 2 misclassified")
    assert plotting.png(ax.figure)


@pytest.mark.parametrize("count", [1, 25, 100])
def test_texts_stay_within_their_cells(count):
    scores = np.tile(np.asarray([[9.0, 0.0]]), (100, 1))
    ax = plotting.mistakes(np.zeros((100, 4)), np.ones(100, int), scores, count=count)
    ax.figure.draw_without_rendering()
    boxes = [artist.get_window_extent() for artist in (*ax.texts, *ax.images, ax.title, ax.get_legend())]
    assert len(boxes) == 2 * count + 2
    overlapping = [(i, j) for i, a in enumerate(boxes) for j, b in enumerate(boxes[:i]) if a.overlaps(b)]
    assert overlapping == []


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((IMAGES[:, :7], LABELS, SCORES), r"images has shape \(5, 7\)"),
        ((IMAGES, LABELS[:4], SCORES), r"t has shape \(4,\)"),
        ((IMAGES, LABELS / 1.0, SCORES), "t has labels of dtype float64, expected integers"),
        ((IMAGES, LABELS, SCORES[:4]), r"y has shape \(4, 3\), expected scores \(5, C\)"),
        ((IMAGES, LABELS, LABELS), r"y has shape \(5,\), expected scores"),
        ((IMAGES, LABELS + 1, SCORES), "t has labels from 1 to 3; y has scores of 3 classes"),
        ((IMAGES, LABELS, SCORES * np.nan), "15 scores that are NaN or infinite"),
    ],
)
def test_what_does_not_fit_is_refused(arguments, message):
    with pytest.raises(ValueError, match=message):
        plotting.mistakes(*arguments)


def test_confusion_writes_what_is_not_zero_and_shades_shares_of_rows(array):
    counts = np.array([[90, 10, 0], [0, 5, 0], [0, 0, 0]])
    ax = plotting.confusion(array(counts))
    assert {text.get_position(): text.get_text() for text in ax.texts} == {(0, 0): "90", (1, 0): "10", (1, 1): "5"}
    shares = np.array([[0.9, 0.1, 0], [0, 1, 0], [0, 0, 0]])
    np.testing.assert_allclose(ax.images[0].get_array(), np.sqrt(shares))
    assert (ax.get_xlabel(), ax.get_ylabel(), ax.get_title()) == ("predicted", "true", "95 of 105 right")
    assert ax.texts[0].get_color() != ax.texts[1].get_color()  # white on dark, black on light


def test_confusion_of_many_classes_has_no_numbers():
    ax = plotting.confusion(np.eye(30, dtype=int), Figure().subplots())
    assert not ax.texts
    assert ax.images[0].get_array().shape == (30, 30)


@pytest.mark.parametrize(
    ("matrix", "message"),
    [
        (np.zeros((2, 3), int), r"matrix has shape \(2, 3\), expected \(C, C\)"),
        (np.zeros((0, 0), int), r"matrix has shape \(0, 0\)"),
        (np.eye(2), "is no counts"),
        (-np.eye(2, dtype=int), "is no counts"),
    ],
)
def test_what_is_no_confusion_matrix_is_refused(matrix, message):
    with pytest.raises(ValueError, match=message):
        plotting.confusion(matrix)

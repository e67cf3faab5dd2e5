"""Pictures of filters and of what layers make of an image."""

from __future__ import annotations

import numpy as np
import pytest
from matplotlib.figure import Figure

from xpnet import ResNet, SimpleConvNet, plotting

FILTERS = np.arange(5 * 9, dtype="float32").reshape(5, 1, 3, 3) - 20


def test_each_filter_is_a_picture_in_the_same_shades(array):
    ax = plotting.filters(array(FILTERS))
    assert len(ax.images) == 5
    for image, kernel in zip(ax.images, FILTERS, strict=True):
        np.testing.assert_allclose(image.get_array(), kernel[0])
        assert image.get_clim() == (-20, 24)
    assert ax.get_title() == "5 filters, 3 by 3"


def test_filters_of_several_channels_have_a_row_each():
    W = np.random.default_rng(0).normal(size=(3, 2, 5, 4))
    ax = plotting.filters(W)
    corners = [(image.get_extent()[0], image.get_extent()[3]) for image in ax.images]
    assert len(ax.images) == 6
    assert len({left for left, _ in corners}) == 2
    assert len({top for _, top in corners}) == 3
    np.testing.assert_allclose(ax.images[3].get_array(), W[1, 1])


def test_no_more_are_shown_than_asked_for():
    given = Figure().subplots()
    ax = plotting.filters(np.ones((9, 7, 3, 3)), given, count=2)
    assert ax is given
    assert (len(ax.images), ax.get_title()) == (4, "9 filters, 3 by 3, the first 2")
    assert len(plotting.feature_maps(np.ones((9, 4, 4)), count=4).images) == 4


def test_feature_maps_are_what_a_layer_makes_of_an_image(backend, array):
    net = SimpleConvNet((1, 8, 8), {"filter_num": 6, "filter_size": 3}, seed=0, backend=backend)
    found = plotting.activations(net, array(np.random.default_rng(0).random((2, 1, 8, 8)), "float32"))["Conv1"]
    ax = plotting.feature_maps(found[1, ...])
    assert ax.get_title() == "6 channels, 6 by 6"
    for image, channel in zip(ax.images, backend.to_numpy(found)[1], strict=True):
        np.testing.assert_allclose(image.get_array(), channel)
    assert len(plotting.feature_maps(found[:1, ...]).images) == 6


def test_pictures_do_not_overlap_and_can_be_written(tmp_path):
    ax = plotting.filters(np.random.default_rng(0).normal(size=(30, 1, 5, 3)))
    boxes = [image.get_extent() for image in ax.images]
    for i, (left, right, bottom, top) in enumerate(boxes):
        for l2, r2, b2, t2 in boxes[:i]:
            assert right <= l2 or r2 <= left or bottom <= t2 or b2 <= top
    assert plotting.save(ax, tmp_path / "filters.png").read_bytes().startswith(b"\x89PNG")


def test_equal_weights_and_gaps_are_drawn():
    assert plotting.png(plotting.filters(np.zeros((2, 1, 3, 3))).figure)
    W = FILTERS.copy()
    W[0, 0, 0, 0] = np.nan
    assert plotting.filters(W).images[1].get_clim() == (-19, 24)


def test_filters_inside_of_blocks_are_drawn():
    net = ResNet((1, 8, 8), [3, 4], seed=0, backend="numpy")
    assert len(plotting.filters(net.params["Add1.Chain1.W1"]).images) == 12


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda: plotting.filters(np.ones((784, 50))), ValueError, r"W has shape \(784, 50\), expected \(out_channels"),
        (lambda: plotting.filters(np.full((1, 1, 2, 2), np.nan)), ValueError, "W is NaN or infinite everywhere"),
        (lambda: plotting.filters(FILTERS, count=0), ValueError, "count is 0"),
        (lambda: plotting.filters([[1]]), TypeError, "of type list"),
        (lambda: plotting.feature_maps(np.ones((2, 3, 4, 4))), ValueError, r"maps has shape \(2, 3, 4, 4\), expected"),
        (lambda: plotting.feature_maps(np.ones((0, 4, 4))), ValueError, r"maps has shape \(0, 4, 4\)"),
    ],
)
def test_what_is_no_filter_is_refused(call, error, message):
    with pytest.raises(error, match=message):
        call()

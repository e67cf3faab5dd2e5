"""Pictures of digits: whatever they look like, a network reads them as it reads MNIST's."""

from __future__ import annotations

import sys

import numpy as np
import pytest
from PIL import Image, ImageFilter

from xpnet import SGD, Trainer, TwoLayerNet
from xpnet.datasets import mnist
from xpnet.images import ImagesUnavailableError, UnreadableImageError, read_digit

COUNT = 100
DARK, LIGHT = "dark on light, inverted", "light on dark"


@pytest.fixture(scope="module")
def raw():
    return mnist(normalize=False, flatten=False)[1][0][:COUNT, 0]


@pytest.fixture(scope="module")
def network(digits):
    net = TwoLayerNet(784, 50, 10, seed=0, backend="numpy")
    Trainer(net, SGD(lr=0.1), seed=0).fit(*digits[0], iterations=1500)
    return net


def enlarged(pixels, side=280):
    return Image.fromarray(pixels).resize((side, side), Image.Resampling.BICUBIC)


def ink_on_paper(pixels, side=280):
    return Image.eval(enlarged(pixels, side), lambda v: 255 - v)


def on_sheet(pixels, paper=255):
    sheet = Image.new("L", (600, 500), paper)
    sheet.paste(Image.eval(ink_on_paper(pixels, 140), lambda v: v * paper // 255), (420, 30))
    return sheet


def with_noise(pixels):
    values = np.asarray(on_sheet(pixels, 230)) + np.random.default_rng(1).normal(0, 10, (500, 600))
    return Image.fromarray(np.clip(values, 0, 255).astype(np.uint8))


def with_specks(pixels):
    values = np.asarray(on_sheet(pixels)).copy()
    y, x = np.random.default_rng(2).integers(0, 500, (2, 30))
    values[y, x] = 0
    return Image.fromarray(values)


def in_slanting_light(pixels):
    return Image.fromarray((np.asarray(with_noise(pixels)) * np.linspace(1, 0.65, 600)).astype(np.uint8))


def transparent(pixels):
    """Black ink, and nothing where there is none."""
    image = Image.new("RGBA", (280, 280), (0, 0, 0, 0))
    image.putalpha(enlarged(pixels))
    return image


FORMS = {
    "enlarged": (enlarged, ".png", LIGHT),
    "twice": (lambda p: enlarged(p, 56), ".png", LIGHT),
    "ink": (ink_on_paper, ".png", DARK),
    "sheet": (on_sheet, ".png", DARK),
    "faint": (lambda p: on_sheet(p).point(lambda v: 150 + v * 40 // 255), ".png", DARK),
    "noise": (with_noise, ".png", DARK),
    "specks": (with_specks, ".png", DARK),
    "light": (in_slanting_light, ".png", DARK),
    "blurred": (lambda p: ink_on_paper(p).filter(ImageFilter.GaussianBlur(5)), ".png", DARK),
    "jpeg": (on_sheet, ".jpg", DARK),
    "transparent": (transparent, ".png", DARK),
    "two colours": (lambda p: ink_on_paper(p).convert("1"), ".png", DARK),
    "cmyk": (lambda p: ink_on_paper(p).convert("CMYK"), ".tif", DARK),
}


@pytest.mark.parametrize("form", FORMS)
def test_a_network_reads_what_it_reads_in_the_data(form, raw, network, tmp_path):
    make, suffix, note = FORMS[form]
    path = tmp_path / f"digit{suffix}"
    found = []
    for pixels in raw:
        make(pixels).save(path)
        digit = read_digit(path)
        assert digit.note.endswith(note)
        assert (digit.pixels.shape, digit.pixels.dtype) == ((28, 28), np.uint8)
        found.append(digit.pixels)
    labels, expected = (
        network.predict(p.reshape(COUNT, 784) / np.float32(255)).argmax(axis=1) for p in (np.array(found), raw)
    )
    assert (labels == expected).mean() >= 0.95


@pytest.mark.parametrize(("ink", "note"), [(False, "28x28, light on dark"), (True, "28x28, dark on light, inverted")])
def test_a_digit_of_mnist_is_not_changed(ink, note, raw, tmp_path):
    for pixels in raw:
        Image.fromarray(255 - pixels if ink else pixels).save(tmp_path / "digit.png")
        digit = read_digit(tmp_path / "digit.png")
        np.testing.assert_array_equal(digit.pixels, pixels)
        assert digit.note == note


@pytest.fixture
def bar(tmp_path):
    """A black bar, 10 by 40, on white, high up and on the left."""
    values = np.full((100, 80), 255, np.uint8)
    values[5:45, 8:18] = 0
    return Image.fromarray(values)


def test_a_drawing_is_scaled_to_20_and_centred(bar, tmp_path):
    bar.save(tmp_path / "bar.png")
    # 20 rows and 5 columns, their centre of mass at (13.5, 14): 14 as near as pixels allow
    found = read_digit(tmp_path / "bar.png").pixels
    assert (found > 0).sum() == 100
    y, x = np.nonzero(found)
    assert (np.ptp(y), np.ptp(x)) == (19, 4)
    assert abs(y.mean() - 14) <= 0.5
    assert x.mean() == 14


@pytest.mark.parametrize("mode", ["1", "L", "LA", "P", "RGB", "RGBA", "CMYK", "YCbCr", "I;16", "I", "F"])
def test_every_mode_is_the_same_picture(mode, bar, tmp_path):
    bar.save(tmp_path / "bar.png")
    if mode == "I;16":
        image = Image.fromarray(np.asarray(bar).astype(np.uint16) * 257)
    else:
        image = bar.convert("RGB").convert(mode) if mode in ("P", "CMYK", "YCbCr") else bar.convert(mode)
    assert image.mode == mode
    image.save(tmp_path / "other.tif", **({"compression": "jpeg", "quality": 100} if mode == "YCbCr" else {}))
    found, expected = (read_digit(tmp_path / name).pixels for name in ("other.tif", "bar.png"))
    np.testing.assert_allclose(found.astype(int), expected, atol=3)


def test_white_on_nothing_is_seen_on_black(bar, tmp_path):
    image = Image.new("RGBA", bar.size, (255, 255, 255, 0))
    image.putalpha(Image.eval(bar, lambda v: 255 - v))
    image.save(tmp_path / "white.png")
    assert read_digit(tmp_path / "white.png").note == "80x100, light on dark"


def test_a_photograph_is_turned_as_its_exif_data_say(bar, tmp_path):
    exif = Image.Exif()
    exif[0x0112] = 6  # the camera was turned: to be seen, turn it a quarter to the right
    bar.rotate(90, expand=True).save(tmp_path / "turned.png", exif=exif)
    bar.save(tmp_path / "bar.png")
    turned, upright = (read_digit(tmp_path / name).pixels for name in ("turned.png", "bar.png"))
    np.testing.assert_array_equal(turned, upright)


def test_of_an_animation_it_is_the_first_picture(bar, tmp_path):
    bar.save(tmp_path / "bar.gif", save_all=True, append_images=[bar.rotate(90), bar.rotate(45)])
    bar.save(tmp_path / "bar.png")
    first, alone = (read_digit(tmp_path / name).pixels for name in ("bar.gif", "bar.png"))
    np.testing.assert_array_equal(first, alone)


def test_a_large_scan_is_read(bar, tmp_path):
    bar.resize((4800, 6000), Image.Resampling.NEAREST).save(tmp_path / "scan.png")
    bar.save(tmp_path / "bar.png")
    large, small = (read_digit(tmp_path / name) for name in ("scan.png", "bar.png"))
    assert large.note == "4800x6000, dark on light, inverted"
    np.testing.assert_array_equal(large.pixels, small.pixels)


@pytest.mark.parametrize(
    "image",
    [
        Image.new("L", (50, 50), 200),
        Image.new("RGBA", (50, 50), (0, 0, 0, 0)),
        Image.new("L", (1, 1), 0),
        Image.fromarray(np.random.default_rng(0).normal(200, 12, (300, 300)).clip(0, 255).astype(np.uint8)),
    ],
    ids=["one shade", "transparent", "one pixel", "noise"],
)
def test_a_blank_image_is_refused(image, tmp_path):
    image.save(tmp_path / "blank.png")
    with pytest.raises(UnreadableImageError, match=r"blank\.png: nothing is drawn in it"):
        read_digit(tmp_path / "blank.png")


def test_what_is_no_image_is_refused_by_name(bar, tmp_path, monkeypatch):
    with pytest.raises(FileNotFoundError, match=r"missing\.png"):
        read_digit(tmp_path / "missing.png")
    (tmp_path / "text.png").write_text("a seven")
    with pytest.raises(UnreadableImageError, match=r"text\.png is no image"):
        read_digit(tmp_path / "text.png")
    bar.save(tmp_path / "half.png")
    data = (tmp_path / "half.png").read_bytes()
    (tmp_path / "half.png").write_bytes(data[: len(data) // 2])
    with pytest.raises(UnreadableImageError, match=r"half\.png is damaged"):
        read_digit(tmp_path / "half.png")
    bar.save(tmp_path / "bar.png")
    for limit in (6000, 3000):  # Pillow warns of the one, and refuses the other by itself
        monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", limit)
        with pytest.raises(UnreadableImageError, match=r"bar\.png has too many pixels"):
            read_digit(tmp_path / "bar.png")


def test_without_pillow_it_says_what_to_install(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "PIL", None)
    with pytest.raises(ImagesUnavailableError, match=r'pip install "xpnet\[images\]"'):
        read_digit(tmp_path / "any.png")

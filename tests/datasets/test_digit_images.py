"""Pictures of digits: whatever they look like, a network reads them as it reads MNIST's."""

from __future__ import annotations

import os
import struct
import subprocess
import sys
import zlib

import numpy as np
import pytest
from PIL import Image, ImageFilter, ImageOps

from xpnet import SGD, Trainer, TwoLayerNet
from xpnet.datasets import mnist
from xpnet.datasets.digit_images import FORMATS, ImagesUnavailableError, UnreadableImageError, _pictures, read_digit

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
        with pytest.raises(UnreadableImageError, match=rf"bar\.png has too many pixels.*: 80 x 100, .* {limit} in all"):
            read_digit(tmp_path / "bar.png")


def test_only_files_are_opened(tmp_path):
    """A pipe without a writer would be waited for."""
    (tmp_path / "folder.png").mkdir()
    with pytest.raises(UnreadableImageError, match=r"folder\.png is a folder"):
        read_digit(tmp_path / "folder.png")
    if hasattr(os, "mkfifo"):
        os.mkfifo(tmp_path / "pipe.png")
        for path in (tmp_path / "pipe.png", "/dev/zero"):
            with pytest.raises(UnreadableImageError, match="is a pipe or a device"):
                read_digit(path)


def test_kinds_of_files(bar, tmp_path):
    """Those that are pictures and nothing else, whatever the name; a program such as EPS is not run."""
    assert set(FORMATS) == {"PNG", "JPEG", "GIF", "BMP", "TIFF", "WEBP", "PPM"}
    for form in FORMATS:
        bar.save(tmp_path / "bar.eps", format=form)
        assert read_digit(tmp_path / "bar.eps").note.startswith("80x100")
    for form, mode in {
        "EPS": "L",
        "ICO": "RGB",
        "PCX": "RGB",
        "TGA": "RGB",
        "SGI": "RGB",
        "DDS": "RGB",
        "MSP": "1",
    }.items():
        bar.convert(mode).save(tmp_path / "bar.png", format=form)
        with pytest.raises(UnreadableImageError, match=r"bar\.png is no image of a kind that is read: PNG, JPEG, GIF"):
            read_digit(tmp_path / "bar.png")


@pytest.mark.parametrize("value", [np.inf, -np.inf, np.nan])
@pytest.mark.parametrize("side", [100, 5000])
def test_numbers_that_are_not_finite_hide_no_digit(value, side, bar, tmp_path):
    """One pixel would be white or black, and all others of one shade."""
    values = np.asarray(bar.resize((side, side))).astype(np.float32) / 255
    values[3, 4] = value
    Image.fromarray(values).save(tmp_path / "bar.tif")
    with pytest.raises(UnreadableImageError, match=r"bar\.tif has pixels that are infinite or no number \(NaN\)"):
        read_digit(tmp_path / "bar.tif")


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("suffix", [".png", ".jpg", ".tif", ".webp"])
def test_every_orientation_is_that_of_pillow(orientation, suffix, tmp_path):
    drawing = Image.new("L", (60, 90), 250)
    drawing.paste(10, (10, 10, 20, 80))
    drawing.paste(10, (10, 10, 50, 22))
    exif = Image.Exif()
    exif[0x0112] = orientation
    drawing.save(tmp_path / f"drawing{suffix}", exif=exif)
    drawing.save(tmp_path / "drawing.png", exif=exif)
    # Pillow itself reads such a TIFF wrongly if it is given the path, and maps it into memory
    with Image.open(tmp_path / f"drawing{'.png' if suffix == '.tif' else suffix}") as opened:
        ImageOps.exif_transpose(opened).convert("L").save(tmp_path / "upright.png")
    turned, upright = (read_digit(tmp_path / name) for name in (f"drawing{suffix}", "upright.png"))
    assert turned.note == upright.note
    np.testing.assert_array_equal(turned.pixels, upright.pixels)


@pytest.mark.parametrize("mode", ["L", "1", "RGB", "RGBA", "LA", "P", "CMYK", "I;16", "I", "F"])
@pytest.mark.parametrize("size", [(4097, 4003), (2100, 6001), (9001, 300)])
def test_tiles_make_the_picture_that_the_whole_makes(mode, size, tmp_path):
    """Reduced by Pillow at once, or by NumPy; up to rounding, for numbers without a scale."""
    drawing = Image.new("L", size, 240)
    width, height = size
    drawing.paste(20, (width // 3, height // 5, width // 2, height * 4 // 5))
    drawing = Image.fromarray(np.asarray(drawing) - np.random.default_rng(0).integers(0, 9, (height, width), "uint8"))
    if mode == "I;16":
        image = Image.fromarray(np.asarray(drawing).astype(np.uint16) * 200)
    else:
        image = drawing.convert("RGB").convert(mode) if mode in ("P", "CMYK") else drawing.convert(mode)
    image.save(tmp_path / "drawing.tif")
    factor = max(size) // 2000
    if mode in ("I;16", "I", "F"):
        values = np.asarray(image, np.float64)
        rows, columns = (-(-n // factor) for n in values.shape)
        blocks = np.full((rows * factor, columns * factor), np.nan)
        blocks[:height, :width] = values
        means = np.nanmean(blocks.reshape(rows, factor, columns, factor), axis=(1, 3))
        expected = np.rint(255 * (means - means.min()) / (means.max() - means.min()))
    else:
        whole = image.convert("RGBA") if mode in ("RGBA", "LA") else image
        expected = np.asarray(whole.convert("RGB").convert("L").reduce(factor)).astype(float)
    found, told = next(_pictures(tmp_path / "drawing.tif"))
    assert (told, found.dtype) == (size, np.uint8)
    assert np.abs(found - expected).max() <= (1 if mode in ("I;16", "I", "F") else 0)


MEASURE = """
import resource, sys
import PIL.Image
from xpnet.datasets.digit_images import UnreadableImageError, read_digit
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
try:
    print(read_digit(sys.argv[1]).note)
except UnreadableImageError as error:
    print(error)
print((resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) // 1024)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="memory is counted in another way elsewhere")
@pytest.mark.parametrize(
    ("name", "mode", "megabytes"),
    [("l.png", "L", 64), ("c.png", "RGBA", 256), ("16.png", "I;16", 128), ("f.tif", "F", 256), ("i.tif", "I", 256)],
)
def test_an_image_takes_little_more_memory_than_itself(name, mode, megabytes, tmp_path):
    """The largest that is read, in a file of some 100 kB; measured in a process of its own."""
    values = np.zeros((8192, 8192), {"I;16": "u2", "F": "f4", "I": "i4"}.get(mode, "u1"))
    values[2000:6000, 3500:4500] = 200
    image = Image.fromarray(values)
    options = {"compression": "tiff_adobe_deflate"} if name.endswith("tif") else {}
    (image.convert("RGBA") if mode == "RGBA" else image).save(tmp_path / name, **options)
    del values, image
    assert (tmp_path / name).stat().st_size < 500_000
    done = subprocess.run(
        [sys.executable, "-c", MEASURE, tmp_path / name], capture_output=True, text=True, check=True, timeout=300
    )
    told, taken = done.stdout.splitlines()
    assert told == "8192x8192, light on dark"
    assert int(taken) < megabytes + 150


@pytest.mark.skipif(sys.platform != "linux", reason="memory is counted in another way elsewhere")
@pytest.mark.parametrize(("mode", "side"), [("1", 8193), ("L", 9000), ("1", 20000)])
def test_an_image_that_is_too_large_is_refused_before_it_is_read(mode, side, tmp_path):
    Image.new(mode, (side, side)).save(tmp_path / "large.png")
    done = subprocess.run(
        [sys.executable, "-c", MEASURE, tmp_path / "large.png"], capture_output=True, text=True, check=True
    )
    told, taken = done.stdout.splitlines()
    assert (
        f"large.png has too many pixels to be a picture of a digit: {side} x {side}, expected at most 67108864" in told
    )
    assert int(taken) < 20


def test_a_tiff_of_tiles_that_are_larger_than_itself_is_refused(tmp_path):
    data = zlib.compress(bytes(100))
    tags = [(256, 100), (257, 100), (258, 8), (259, 8), (262, 1), (277, 1), (322, 40_000), (323, 40_000)]
    tags += [(324, 8), (325, len(data))]
    text = b"II*\0" + struct.pack("<I", 8 + len(data)) + data + struct.pack("<H", len(tags))
    text += b"".join(struct.pack("<HHII", tag, 4, 1, value) for tag, value in tags) + bytes(4)
    (tmp_path / "tiles.tif").write_bytes(text)
    with pytest.raises(UnreadableImageError, match="too many pixels to be a picture of a digit: 40000 x 40000"):
        read_digit(tmp_path / "tiles.tif")


def test_damaged_files_are_refused_whatever_pillow_raises(bar, tmp_path):
    """Cut off, and with bytes changed, in every kind of file."""
    rng = np.random.default_rng(0)
    seen = set()
    for form in FORMATS:
        bar.save(tmp_path / "whole", format=form)
        data = (tmp_path / "whole").read_bytes()
        for n in range(60):
            changed = bytearray(data if n % 2 else data[: rng.integers(len(data))])
            for at in rng.integers(0, max(len(changed), 1), n % 7):
                if changed:
                    changed[at] = rng.integers(256)
            (tmp_path / "changed.png").write_bytes(bytes(changed))
            try:
                assert read_digit(tmp_path / "changed.png").pixels.shape == (28, 28)
            except UnreadableImageError as error:
                seen.add(str(error).split()[1])
    assert {"is", "has"} & seen


def test_names_are_told_without_control_characters(tmp_path):
    path = tmp_path / "a\x1b[31m\nb.png"
    path.write_bytes(b"text")
    with pytest.raises(UnreadableImageError) as refused:
        read_digit(path)
    assert str(refused.value).isprintable()


def test_without_pillow_it_says_what_to_install(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "PIL", None)
    with pytest.raises(ImagesUnavailableError, match=r'pip install "xpnet\[images\]"'):
        read_digit(tmp_path / "any.png")

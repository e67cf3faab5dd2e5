"""Pictures of functions and of descents: what is drawn, from arrays of every backend, and the files made of it."""

from __future__ import annotations

import os
import subprocess
import sys

import numpy as np
import pytest
from matplotlib.axes import Axes
from matplotlib.colors import to_rgba
from matplotlib.figure import Figure

from xpnet import functions, plotting, use_backend

MAGIC = {".png": b"\x89PNG\r\n\x1a\n", ".svg": b"<?xml", ".pdf": b"%PDF-"}
PATH = np.array([[-3.0, 2.0], [-1.0, 1.0], [0.5, -0.25]])


def bowl(p):
    """x0^2 / 2 + x1^2, of one point of any backend."""
    return p[0] ** 2 / 2 + p[1] ** 2


def slope(p):
    return p * 2


def drawn(name, ax=None):
    """Each drawing function, called with little to draw."""
    return {
        "gradient_field": lambda: plotting.gradient_field(slope, ax, points=3),
        "contours": lambda: plotting.contours(bowl, ax, points=5),
        "surface": lambda: plotting.surface(bowl, ax, points=5),
        "descent_paths": lambda: plotting.descent_paths(bowl, PATH, ax, points=5),
        "function_curves": lambda: plotting.function_curves({"relu": functions.relu}, ax),
        "digits": lambda: plotting.digits(np.eye(4), np.arange(4), ax=ax),
        "activation_histograms": lambda: plotting.activation_histograms({"Affine1": np.eye(4)}, ax),
    }[name]()


DRAWINGS = [
    "gradient_field",
    "contours",
    "surface",
    "descent_paths",
    "function_curves",
    "digits",
    "activation_histograms",
]
#: How each picture of a function of two variables is made of any function, with a gradient for the field.
OF_TWO = {
    "gradient_field": lambda f, **options: plotting.gradient_field(lambda p: p * 0 + f(p), **options),
    "contours": plotting.contours,
    "surface": plotting.surface,
    "descent_paths": lambda f, **options: plotting.descent_paths(f, PATH, **options),
}


def line_of(ax, label):
    return next(line.get_xydata() for line in ax.lines if line.get_label() == label)


def texts(ax):
    return [text.get_text() for text in ax.texts]


def rendered(ax):
    return plotting.png(ax.figure)


@pytest.mark.parametrize("name", DRAWINGS)
def test_a_picture_is_drawn_on_the_axes_given_or_on_new_ones(name):
    _, (left, right) = plotting.new_figure(2, projection="3d" if name == "surface" else None)
    assert drawn(name, right) is right
    assert right.has_data() or right.child_axes
    assert not left.has_data()
    ax = drawn(name)
    assert isinstance(ax, Axes)
    assert isinstance(ax.figure, Figure)
    assert rendered(ax).startswith(MAGIC[".png"])


@pytest.mark.parametrize("name", DRAWINGS)
def test_without_matplotlib_the_error_names_the_extra(name, monkeypatch):
    for module in [m for m in sys.modules if m.partition(".")[0] in ("matplotlib", "mpl_toolkits")]:
        monkeypatch.setitem(sys.modules, module, None)
    with pytest.raises(plotting.PlottingUnavailableError, match=r'pip install "xpnet\[plot\]"'):
        drawn(name)


def test_pictures_need_no_display_and_import_matplotlib_late(tmp_path):
    code = (
        "import sys; from xpnet import plotting; assert 'matplotlib' not in sys.modules; "
        "ax = plotting.surface(lambda p: p[0], points=3); plotting.save(ax, sys.argv[1]); "
        "assert 'matplotlib.pyplot' not in sys.modules"
    )
    environment = {k: v for k, v in os.environ.items() if k not in ("DISPLAY", "WAYLAND_DISPLAY")}
    environment["MPLBACKEND"] = "TkAgg"
    command = [sys.executable, "-c", code, str(tmp_path / "surface.png")]
    done = subprocess.run(command, env=environment, capture_output=True, check=False)
    assert done.returncode == 0, done.stderr.decode()


@pytest.mark.parametrize("suffix", [*MAGIC, ".PNG"])
def test_save_writes_what_the_suffix_says_and_nothing_else(suffix, tmp_path):
    path = tmp_path / "new" / "folder" / f"curve{suffix}"
    ax = drawn("function_curves")
    assert plotting.save(ax, str(path)) == path
    assert path.read_bytes().startswith(MAGIC[suffix.lower()])
    assert plotting.save(ax.figure, path) == path
    assert list(path.parent.iterdir()) == [path]


@pytest.mark.parametrize("name", ["curve.jpg", "curve"])
def test_save_refuses_other_suffixes_and_other_things(name, tmp_path):
    with pytest.raises(ValueError, match=r"one of: \.png, \.svg, \.pdf"):
        plotting.save(drawn("function_curves"), tmp_path / "new" / name)
    with pytest.raises(TypeError, match="type list, expected an Axes or a Figure"):
        plotting.save([], tmp_path / "new" / "curve.png")
    assert not list(tmp_path.iterdir())


def test_gradient_field_points_downhill(backend):
    weight = backend.asarray([1.0, 4.0])
    ax = plotting.gradient_field(lambda p: p * weight, x=(-2, 2), y=(0, 3), points=4, backend=backend)
    (arrows,) = ax.collections
    x, y = np.meshgrid(np.linspace(-2, 2, 4), np.linspace(0, 3, 4))
    np.testing.assert_allclose(arrows.get_offsets(), np.stack([x.ravel(), y.ravel()], axis=1))
    np.testing.assert_allclose([arrows.U, arrows.V], [-x.ravel(), -4 * y.ravel()], rtol=1e-6)
    assert (ax.get_xlabel(), ax.get_ylabel(), ax.get_aspect()) == ("x0", "x1", 1)
    assert ax.get_title()


def test_contours_run_where_f_has_the_level(backend):
    ax = plotting.contours(bowl, x=(-2, 2), y=(-1, 1), points=41, levels=[0.25, 0.5, 0.75], backend=backend)
    (lines,) = ax.collections
    assert list(lines.levels) == [0.25, 0.5, 0.75]
    for level, path in zip(lines.levels, lines.get_paths(), strict=True):
        x, y = path.vertices.T
        np.testing.assert_allclose(x**2 / 2 + y**2, level, atol=2e-3)
    assert {"0.25", "0.5", "0.75"} == set(texts(ax))
    assert (*ax.get_xlim(), *ax.get_ylim()) == (-2, 2, -1, 1)


@pytest.mark.parametrize("picture", ["contours", "gradient_field", "descent_paths"])
@pytest.mark.parametrize(("y", "aspect"), [((-2, 2), 1), ((-7, 8), 1), ((0, 0.1), "auto"), ((0, 100), "auto")], ids=str)
def test_circles_are_round_unless_that_leaves_a_sliver(picture, y, aspect):
    assert OF_TWO[picture](bowl, x=(-2, 2), y=y, points=5).get_aspect() == aspect


def test_a_title_has_the_name_of_the_function():
    assert plotting.contours(bowl, points=3).get_title() == "Contours of bowl"
    assert plotting.surface(bowl, points=3).get_title() == "Surface of bowl"
    assert plotting.descent_paths(bowl, PATH, points=3).get_title() == "Descent of bowl"
    assert plotting.contours(lambda p: p[0], points=3).get_title() == "Contours"


def test_lines_and_their_numbers_are_legible_on_white():
    """A contrast of at least 1.7 to 1 for lines and of 4.5 to 1 for text (WCAG 2.1, 1.4.3)."""
    ax = plotting.contours(bowl)
    (lines,) = ax.collections
    assert min(contrast(colour) for colour in lines.get_edgecolors()) > 1.7
    assert min(contrast(to_rgba(text.get_color())) for text in ax.texts) > 4.5


def contrast(colour):
    """Of a colour on white, as WCAG defines it."""
    parts = [c / 12.92 if c <= 0.03928 else ((c + 0.055) / 1.055) ** 2.4 for c in colour[:3]]
    return 1.05 / (np.dot([0.2126, 0.7152, 0.0722], parts) + 0.05)


def test_a_path_under_another_is_seen():
    ax = plotting.descent_paths(bowl, {"a": PATH, "b": PATH, "c": PATH}, points=3)
    widths = [line.get_linewidth() for line in ax.lines if line.get_label() in "abc"]
    assert widths[0] > widths[1] > widths[2]


def test_a_label_that_the_border_would_cut_is_left_out():
    for text in plotting.contours(bowl).texts:
        assert text.get_visible() == (np.abs(text.get_position()).max() <= 3.6)


def test_points_are_of_the_current_backend_by_default(backend):
    seen = []

    def f(p):
        seen.append((type(p), str(p.dtype).rpartition(".")[2], tuple(p.shape)))
        return bowl(p)

    with use_backend(backend):
        plotting.surface(f, points=3)
    assert set(seen) == {(type(backend.asarray([1.0])), "float64", (2,))}


def test_surface_is_f_over_contours_on_a_floor():
    ax = plotting.surface(bowl, x=(-1, 1), y=(-2, 2), points=9)
    faces, floor = ax.collections
    x, y, z = np.moveaxis(np.asarray(faces._faces), -1, 0) if hasattr(faces, "_faces") else faces._vec[:3]
    np.testing.assert_allclose(z, x**2 / 2 + y**2, atol=1e-12)
    assert floor.get_paths()
    assert ax.get_zlim()[0] < 0  # below the lowest value, which is where the contours are
    assert (ax.get_xlabel(), ax.get_ylabel(), ax.get_zlabel()) == ("x0", "x1", "f")


def test_surface_on_flat_axes_says_how_to_make_others():
    with pytest.raises(ValueError, match=r'new_figure\(projection="3d"\)'):
        plotting.surface(bowl, Figure().subplots())


@pytest.mark.parametrize("picture", OF_TWO.values(), ids=OF_TWO)
def test_what_is_not_finite_is_a_gap(picture):
    assert rendered(picture(lambda p: np.log(p[0]) + 1 / p[1], points=5)).startswith(MAGIC[".png"])
    assert rendered(picture(lambda _: 2.0, points=5)).startswith(MAGIC[".png"])  # nor has a plane any contours
    with pytest.raises(ValueError, match="NaN or infinite everywhere on x from"):
        picture(lambda p: p[0] * np.nan, points=3)


def test_gaps_have_no_arrows():
    (arrows,) = plotting.gradient_field(lambda p: p / (p[0] > 0), points=3).collections
    np.testing.assert_array_equal(np.reshape(arrows.Umask, (3, 3)), [[True, True, False]] * 3)


@pytest.mark.parametrize("picture", OF_TWO.values(), ids=OF_TWO)
@pytest.mark.parametrize("interval", [(2, 2), (1, -1), (0, np.inf), (1, 2, 3), 4], ids=str)
def test_empty_ranges_are_refused(picture, interval):
    for name in "xy":
        with pytest.raises(ValueError, match=rf"{name} is .*expected two finite numbers \(low, high\)"):
            picture(bowl, **{name: interval})


def test_functions_that_return_something_else_are_refused():
    for picture in (plotting.contours, plotting.surface):
        with pytest.raises(ValueError, match=r"f returned an array of shape \(2,\) for one point, expected one number"):
            picture(slope)
        with pytest.raises(ValueError, match="f returned a value of type NoneType"):
            picture(lambda _: None)
    with pytest.raises(ValueError, match=r"gradient returned an array of shape \(\) .*expected .* \(2,\)"):
        plotting.gradient_field(bowl)
    with pytest.raises(ValueError, match=r"levels is .*f is from 0 to 24"):
        plotting.contours(bowl, levels=[30])


def test_descent_paths_are_drawn_as_they_are(array, backend):
    ax = plotting.descent_paths(bowl, {"SGD": array(PATH), "Momentum": PATH / 2}, points=5, backend=backend)
    np.testing.assert_array_equal(line_of(ax, "SGD"), PATH)
    np.testing.assert_array_equal(line_of(ax, "Momentum"), PATH / 2)
    marks = {line.get_marker(): line.get_xydata()[0] for line in ax.lines if line.get_label() == "_"}
    np.testing.assert_array_equal([marks["o"], marks["*"]], (PATH / 2)[[0, -1]])
    assert [t.get_text() for t in ax.get_legend().get_texts()] == ["SGD", "Momentum", "start", "end"]
    assert len({line.get_color() for line in ax.lines if line.get_label() in ("SGD", "Momentum")}) == 2
    (left, right), (bottom, top) = ax.get_xlim(), ax.get_ylim()
    assert left < -3 < 0.5 < right
    assert bottom < -0.25 < 2 < top


def test_a_path_alone_needs_no_label_and_ranges_may_be_given():
    ax = plotting.descent_paths(bowl, PATH, x=(-1, 2), y=(0, 1), points=5)
    np.testing.assert_array_equal(ax.lines[0].get_xydata(), PATH)
    assert (*ax.get_xlim(), *ax.get_ylim()) == (-1, 2, 0, 1)


@pytest.mark.parametrize("last", [[1e5, -1e7], [np.inf, 1e300], [np.nan, 0.0]], ids=str)
def test_a_path_that_runs_away_does_not_squeeze_the_rest(last):
    away = np.array([[-3.0, 2.0], [5.0, -20.0], last])
    alone = plotting.descent_paths(bowl, PATH, points=5)
    both = plotting.descent_paths(bowl, {"SGD": PATH, "large steps": away}, points=5)
    assert (both.get_xlim(), both.get_ylim()) == (alone.get_xlim(), alone.get_ylim())
    (left, right), (bottom, top) = (low_high for low_high in plotting.paths.limits([away]))
    assert -15 < left < -3 < right < 15
    assert -15 < bottom < 2 < top < 15
    assert rendered(both).startswith(MAGIC[".png"])


def test_a_path_that_stands_still_is_seen():
    ax = plotting.descent_paths(bowl, np.ones((3, 2)), points=5)
    assert ax.get_xlim()[0] < 1 < ax.get_xlim()[1]


@pytest.mark.parametrize(
    ("paths", "message"),
    [
        ({}, "paths is empty"),
        ({"SGD": PATH.T}, r"the path 'SGD' has shape \(2, 3\), expected points \(steps \+ 1, 2\)"),
        (PATH[:0], r"the path has shape \(0, 2\)"),
        (PATH * np.nan, "the path starts at .*expected a finite point"),
    ],
)
def test_other_paths_are_refused(paths, message):
    with pytest.raises(ValueError, match=message):
        plotting.descent_paths(bowl, paths)
    with pytest.raises(TypeError, match="the path 'SGD' is of type list, expected an array"):
        plotting.descent_paths(bowl, {"SGD": PATH.tolist()})


def test_function_curves_are_the_functions(backend):
    named = {"step": functions.step, "sigmoid": functions.sigmoid, "ReLU": functions.relu}
    ax = plotting.function_curves(named, x=(-2, 2), points=9, backend=backend)
    x = np.linspace(-2, 2, 9)
    for label, y in {"step": x > 0, "sigmoid": 1 / (1 + np.exp(-x)), "ReLU": np.maximum(x, 0)}.items():
        np.testing.assert_allclose(line_of(ax, label), np.stack([x, y], axis=1), atol=1e-12)
    assert [t.get_text() for t in ax.get_legend().get_texts()] == list(named)


def test_function_curves_have_gaps_and_refuse_what_is_no_curve():
    ax = plotting.function_curves({"1/x": lambda x: 1 / x, "log": np.log}, x=(-1, 1), points=3)
    np.testing.assert_array_equal(line_of(ax, "1/x")[:, 1], [-1, np.nan, 1])
    with pytest.raises(ValueError, match="log is NaN or infinite everywhere on x from -2 to -1"):
        plotting.function_curves({"log": np.log}, x=(-2, -1))
    with pytest.raises(ValueError, match=r"softmax returned an array of shape \(\) for x of shape \(501,\)"):
        plotting.function_curves({"softmax": lambda x: x.sum()})
    with pytest.raises(ValueError, match="functions is empty"):
        plotting.function_curves({})
    with pytest.raises(TypeError, match="functions is of type function, expected a dict"):
        plotting.function_curves(functions.relu)

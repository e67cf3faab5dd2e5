"""Backends that other packages bring: found by entry points, used as ours are, and harmless where they are broken."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

HELPERS = Path(__file__).parents[1] / "helpers"
CHECKOUT = Path(__file__).parents[2]


@pytest.fixture
def python(tmp_path):
    """``python(code, {name: value, ...})``: Python in a process of its own, where a package has these entry points."""

    def run(code, entries=(), *, package="boxes", arguments=()):
        folder = tmp_path / f"{package}-1.0.dist-info"
        folder.mkdir(exist_ok=True)
        (folder / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {package}\nVersion: 1.0\n")
        lines = entries if isinstance(entries, str) else "\n".join(f"{n} = {v}" for n, v in dict(entries).items())
        (folder / "entry_points.txt").write_text(f"[xpnet.backends]\n{lines}\n")
        path = os.pathsep.join(map(str, (tmp_path, HELPERS, CHECKOUT, os.environ.get("PYTHONPATH", ""))))
        environment = {**os.environ, "PYTHONPATH": path, "OMP_NUM_THREADS": "1"} | {"XPNET_BACKEND": ""}
        command = [sys.executable, *(arguments or ("-c", code))]
        done = subprocess.run(
            command, env=environment, cwd=tmp_path, capture_output=True, text=True, encoding="utf-8", timeout=120
        )
        assert done.returncode == 0, done.stderr
        return done.stdout.strip(), done.stderr

    return run


BOXES = {"boxes": "boxes_backend:BoxesBackend"}


def test_it_is_one_as_ours_are(python):
    code = """
import boxes, numpy as np
from xpnet import backend_names, get_backend, namespace, use_backend
from xpnet.backends.dispatch import backend_of, backend_status, device
b = get_backend("boxes")
x = b.asarray(np.arange(6.0).reshape(2, 3))
assert type(x) is boxes.Box and namespace(x) is boxes is b.xp and device(x) == "shelf" and backend_of(x) == b
assert b.to_numpy(x).tolist() == [[0, 1, 2], [3, 4, 5]]
assert type(get_backend("strict").asarray(x)).__module__.startswith("array_api_strict")
assert type(b.asarray(get_backend("strict").asarray([1.0]), "float32")) is boxes.Box
assert backend_names() == ("numpy", "cupy", "torch", "jax", "strict", "dask", "boxes")
status = backend_status("boxes")
assert (status.version, status.devices, status.problem) == ("0.5", ("shelf",), None)
with use_backend("boxes", "shelf") as selected:
    assert get_backend() == selected == b
try:
    get_backend("boxen")
except ValueError as error:
    print(error)
"""
    said, _ = python(code, BOXES)
    assert said == "unknown backend 'boxen'; known backends: numpy, cupy, torch, jax, strict, dask, boxes"


def test_an_array_is_enough_to_find_it(python):
    code = """
import boxes
from xpnet import namespace
from xpnet.backends.dispatch import name_of
x = boxes.Box([1.0])
assert name_of([1.0]) is None and name_of(x) == "boxes" and namespace(x) is boxes
"""
    python(code, BOXES)


def test_networks_are_trained_on_it(python):
    """The losses are NumPy's to the last bit, as the numbers are computed by NumPy."""
    code = """
import json, numpy as np
from xpnet import SGD, Trainer, TwoLayerNet, check_gradient, get_backend
rng = np.random.default_rng(0)
x, t = rng.normal(size=(40, 4)), rng.integers(0, 3, 40)
found = {}
for name in ("numpy", "boxes"):
    net, b = TwoLayerNet(4, 5, 3, seed=0, dtype="float64", backend=name), get_backend(name)
    ours = b.asarray(x), b.asarray(t)
    assert net.predict(ours[0]).shape == (40, 3)
    gradient = net.gradient(*ours)
    assert check_gradient(net, *ours, progress=False).passed
    history = Trainer(net, SGD(lr=0.5), batch_size=10, seed=0).fit(*ours, epochs=2, progress=False)
    found[name] = [list(map(float, history.losses)), b.to_numpy(net.params["W1"]).tolist()]
    found[name].append({k: b.to_numpy(g).tolist() for k, g in gradient.items()})
print(json.dumps(found))
"""
    found = json.loads(python(code, BOXES)[0])
    assert len(found["boxes"][0]) == 8
    assert found["boxes"] == found["numpy"]


def test_the_commands_know_it(python):
    said, _ = python("", BOXES, arguments=("-m", "xpnet", "backends"))
    (row,) = (line.split() for line in said.splitlines() if line.startswith("boxes"))
    assert (row[:3], row[-1]) == (["boxes", "0.5", "shelf"], "yes")
    said, _ = python("", BOXES, arguments=("-m", "xpnet", "train", "--backend", "boxes", "--iterations", "5"))
    assert "boxes" in said


def test_importing_xpnet_reads_no_entry_points(python):
    code = """
import importlib.metadata as metadata, numpy as np
def entry_points(**_): raise SystemExit("read")
metadata.entry_points = entry_points
import xpnet
net = xpnet.TwoLayerNet(2, 3, 2, backend="numpy")
net.predict(np.ones((1, 2), "float32")), xpnet.namespace(np.ones(1)), xpnet.get_backend("strict")
"""
    python(code, BOXES)


BROKEN = {
    "away": ("a_module_that_is_not_there:B", "boxes 1.0 cannot be loaded: ModuleNotFoundError"),
    "function": ("os.path:join", "expected a class that derives from xpnet.backends.base.Backend"),
    "without": ("boxes_backend:WithoutDevices", "does not define devices"),
    "other": ("boxes_backend:Misnamed", "has the name 'boxes', expected that of its entry point"),
    "onnumpy": ("boxes_backend:OnNumpy", "arrays of these are backend 'numpy''s"),
    "unpacked": ("boxes_backend:Unpacked", "has packages 'boxes', expected a tuple"),
    "missing": ("boxes_backend:Missing", "needs a_library_that_is_not_there, which is not installed; pip install"),
}


def test_what_is_broken_is_told_when_it_is_named_and_breaks_nothing_else(python):
    code = """
import json, numpy as np, boxes
from xpnet import BackendUnavailableError, backend_names, get_backend
from xpnet.backends.dispatch import backend_status, name_of
assert name_of(boxes.Box([1.0])) == "boxes" and get_backend("numpy") and get_backend("boxes")
found = {}
for name in backend_names()[6:]:
    try:
        get_backend(name)
    except (BackendUnavailableError, OSError) as error:
        status = backend_status(name)
        assert str(error) in status.problem and status.devices == ()
        found[name] = status.problem
print(json.dumps(found))
"""
    values = {name: value for name, (value, _) in BROKEN.items()}
    found = json.loads(python(code, values | BOXES | {"failing": "boxes_backend:Failing"})[0])
    assert found.keys() == {*BROKEN, "failing"}
    for name, (_, why) in BROKEN.items():
        assert found[name].startswith(f"backend '{name}'")
        assert why in found[name]
    assert found["failing"] == "backend 'failing': OSError: the shelf fell down"
    said, _ = python("", values | BOXES, arguments=("-m", "xpnet", "backends"))
    assert "ModuleNotFoundError" in said
    assert "shelf" in said


def test_ours_are_not_replaced(python):
    code = """
import warnings, xpnet
with warnings.catch_warnings(record=True) as warned:
    warnings.simplefilter("always")
    kind, names = type(xpnet.get_backend("numpy")), xpnet.backend_names()
print(kind.__module__, names[-1], *(w.message for w in warned))
"""
    said, _ = python(code, {"numpy": "boxes_backend:BoxesBackend"})
    left_out = "boxes_backend:BoxesBackend of boxes 1.0 is left out: backend 'numpy' is xpnet's own, rename yours"
    assert said == f"xpnet.backends.numpy dask {left_out}"


def test_two_of_one_name(python):
    python("", BOXES)
    code = """
import xpnet
try:
    xpnet.get_backend("boxes")
except xpnet.BackendUnavailableError as error:
    print(error)
"""
    said, _ = python(code, {"boxes": "boxes_backend:Misnamed"}, package="crates")
    assert said == (
        "backend 'boxes': several have this name, boxes_backend:BoxesBackend of boxes 1.0, "
        "boxes_backend:Misnamed of crates 1.0; uninstall all but one"
    )


def test_a_file_of_entry_points_that_is_damaged(python):
    code = """
import warnings, xpnet
with warnings.catch_warnings(record=True) as warned:
    warnings.simplefilter("always")
    last, backend = xpnet.backend_names()[-1], xpnet.get_backend("strict")
print(last, backend.name, *(w.message for w in warned))
"""
    said, _ = python(code, "no equals sign")
    assert said.startswith("dask strict backends of others are not seen: reading entry points failed")

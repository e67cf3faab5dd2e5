"""The house: imports run one way, the written-once parts name no library, and no room is large."""

from __future__ import annotations

import ast
import graphlib
import importlib
import importlib.util
import subprocess
import sys
import tokenize
from fnmatch import fnmatch
from pathlib import Path

import pytest

import xpnet

PACKAGE = Path(xpnet.__file__).parent
CHECKOUT = Path(__file__).parent.parent
MODULES = sorted(PACKAGE.rglob("*.py"))

#: From the ground up: a module imports only from floors below its own, or from within its own folder.
FLOORS = [
    {"_typing", "_numbers", "_html"},
    {"_checks"},
    {"errors", "streams", "hints"},
    {"_later"},
    {"backends"},
    {"parallel"},
    {"serialization"},
    {"datasets"},
    {"validation"},
    {"graph", "stacked", "functions", "initializers"},
    {"layers", "losses", "schedules", "metrics"},
    {"optimizers"},
    {"gradient"},
    {"onnx"},
    {"models", "plotting"},
    {"training", "book"},
    {"throughput", "testing", "sklearn", "sweeping", "interop", "drawing"},
    {"__init__"},
    {"cli"},
    {"__main__"},
]
#: What is written once, for every library.
WRITTEN_ONCE = ("functions", "layers", "losses", "schedules", "metrics", "optimizers", "gradient", "graph", "stacked")
WHY = "It is long because "
LIBRARIES = {"numpy", "np", "cupy", "cp", "torch", "jax", "jnp", "dask", "array_api_strict", "array_api_compat"}


def room(path):
    """The name by which a file stands on a floor: its own, or its folder's."""
    return path.relative_to(PACKAGE).with_suffix("").parts[0]


def imported(path):
    """The rooms that a file imports from."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: imports are absolute"
            names = [f"{node.module}.{alias.name}" for alias in node.names]
        else:
            continue
        for name in names:
            top, _, rest = name.partition(".")
            if top == "xpnet":
                part = rest.partition(".")[0]
                yield part if any(part in floor for floor in FLOORS) else "__init__"


def floor_of(name):
    return next(i for i, floor in enumerate(FLOORS) if name in floor)


@pytest.mark.parametrize("path", MODULES, ids=lambda p: str(p.relative_to(PACKAGE)))
def test_imports_run_one_way(path):
    here = room(path)
    assert any(here in floor for floor in FLOORS), f"{here} stands on no floor of this test"
    for other in imported(path):
        same_folder = other == here and path.parent != PACKAGE
        assert same_folder or floor_of(other) < floor_of(here), f"{here} imports {other}"


def test_nothing_imports_what_is_a_door_to_others():
    """``xpnet.testing`` is for those who write layers, ``xpnet.sklearn`` is one among others': neither is needed."""
    for path in MODULES:
        for door in ("testing", "sklearn", "interop"):
            assert room(path) == door or door not in imported(path), f"{path.name} imports xpnet.{door}"


def test_no_files_import_each_other_in_a_circle():
    names = {
        ".".join(("xpnet", *p.relative_to(PACKAGE).with_suffix("").parts)).removesuffix(".__init__") for p in MODULES
    }
    sorter = graphlib.TopologicalSorter()
    for path in MODULES:
        here = ".".join(("xpnet", *path.relative_to(PACKAGE).with_suffix("").parts))
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.ImportFrom) and node.module in names:
                # `from folder import file` is an import of the file, and the folder's own list of names none
                parts = {f"{node.module}.{alias.name}" for alias in node.names} & names
                sorter.add(here, *(parts or {node.module}))
    sorter.prepare()  # raises CycleError with the circle


@pytest.mark.parametrize("path", [p for p in MODULES if room(p) in WRITTEN_ONCE], ids=lambda p: p.name)
def test_no_library_is_named_where_code_is_written_once(path):
    with path.open("rb") as file:
        for token in tokenize.tokenize(file.readline):
            if token.type == tokenize.NAME:
                assert token.string not in LIBRARIES, f"{path.name}:{token.start[0]}"
            elif token.type in (tokenize.STRING, tokenize.COMMENT) and ">>>" not in token.string:
                assert not LIBRARIES & set(token.string.replace(".", " ").split()), f"{path.name}:{token.start[0]}"


def test_a_library_is_imported_only_behind_the_seam():
    for path in MODULES:
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            names = [a.name for a in node.names] if isinstance(node, ast.Import) else []
            names += [node.module or ""] if isinstance(node, ast.ImportFrom) else []
            for name in names:
                top = name.partition(".")[0]
                assert top not in LIBRARIES - {"numpy", "array_api_compat"}, f"{path.name} imports {name}"
                assert top != "array_api_compat" or path.name == "dispatch.py", f"{path.name} imports {name}"


def test_a_long_file_says_why():
    """One idea a file: over 400 lines it says in its docstring why they are one. "It is long because ..."."""
    folders = [CHECKOUT / name for name in ("xpnet", "tests", "benchmarks", "examples")]
    paths = [p for folder in folders for p in folder.rglob("*.py")]
    assert len(paths) > 30
    texts = {str(p.relative_to(CHECKOUT)): p.read_text("utf-8") for p in paths}
    long = {name: text for name, text in texts.items() if len(text.splitlines()) > 400}
    assert not [name for name, text in long.items() if WHY not in (ast.get_docstring(ast.parse(text)) or "")]


def test_the_files_without_numbers_are_there(request):
    (conftest,) = (p for p in request.config.pluginmanager.get_plugins() if hasattr(p, "WITHOUT_NUMBERS"))
    found = {conftest.name_of(path) for path in Path(__file__).parent.rglob("test_*.py")}
    assert found > set(conftest.WITHOUT_NUMBERS.split())


@pytest.mark.skipif(sys.flags.optimize > 1, reason="python -OO leaves no docstrings")
def test_public_names_exist_and_say_what_they_are():
    for name in xpnet.__all__:
        assert getattr(xpnet, name).__doc__, name


def imports_of(code, *names):
    """Which of these modules are there when the code has run in a process of its own, and what it prints."""
    code += f"\nimport sys; print(*({set(names)!r} & sys.modules.keys()), sep=',', file=sys.stderr)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return set(done.stderr.strip().split(",")) - {""}, done.stdout


def test_what_is_not_needed_is_not_imported():
    assert imports_of("import xpnet", "numpy", "xpnet.training", "xpnet.backends.dispatch") == (set(), "")
    needless = (
        "xpnet.gradient.check",
        "xpnet.sweeping",
        "xpnet.graph",
        "xpnet.metrics",
        "xpnet.plotting",
        "xpnet.onnx",
    )
    needless += ("xpnet.layers.convolution", "xpnet.optimizers.adam", "xpnet.training.checkpoint", "matplotlib")
    train = (
        "from xpnet import SGD, TwoLayerNet, Trainer; from xpnet.datasets import mnist; Trainer(TwoLayerNet(4, 3, 2)"
    )
    assert imports_of(f"{train}, SGD())", "xpnet.training.trainer", *needless)[0] == {"xpnet.training.trainer"}
    needless = ("xpnet.plotting", "xpnet.throughput", "xpnet.book", "xpnet.drawing", "xpnet.sweeping", "matplotlib")
    command = "from xpnet.cli import main; main.get_command(None, 'train')"
    assert imports_of(command, "xpnet.cli.train", *needless)[0] == {"xpnet.cli.train"}


def test_a_name_that_is_not_there_is_told_and_one_that_is_not_imported_yet_is_listed():
    code = """
import pickle, xpnet
if "graph" not in dir(xpnet) or "TwoLayerNet" not in dir(xpnet):
    raise SystemExit("not listed")
for name in ("grap", "load_mnist"):
    try:
        getattr(xpnet, name)
    except AttributeError as error:
        print(error)
if pickle.loads(pickle.dumps(xpnet.SGD(0.5))) != xpnet.optimizers.SGD(0.5):
    raise SystemExit("pickled into something else")
"""
    first, second = imports_of(code)[1].splitlines()
    assert first == "module 'xpnet' has no attribute 'grap'"
    assert second.startswith("xpnet has no load_mnist; the book's load_mnist is here xpnet.datasets.mnist(")


LATER = [p for p in MODULES if p.name == "__init__.py" and "later(" in p.read_text("utf-8")]


@pytest.mark.parametrize("path", LATER, ids=lambda p: p.parent.name)
def test_names_that_are_imported_later_are_those_that_type_checkers_see(path):
    package = ".".join(path.relative_to(PACKAGE.parent).parts[:-1])
    (seen,) = (n for n in ast.parse(path.read_text("utf-8")).body if isinstance(n, ast.If))
    imported = {(n.module, alias.name) for n in seen.body for alias in n.names}
    module = importlib.import_module(package)
    assert {name for _, name in imported} <= set(module.__all__)
    for home, name in imported:
        assert getattr(module, name) is getattr(importlib.import_module(home), name, sys.modules.get(f"{home}.{name}"))
        # a module of this name would take the place of what it has, once somebody imports it
        assert home == package or importlib.util.find_spec(f"{package}.{name}") is None
    assert set(module.__all__) <= set(dir(module))
    assert all(hasattr(module, name) for name in module.__all__)


def test_nothing_of_the_package_is_ignored_by_git():
    """What a pattern without a leading slash names is left out of wheels at any depth."""
    ignored = (CHECKOUT / ".gitignore").read_text().split()
    names = {path.name for path in PACKAGE.rglob("*")} - {"__pycache__"}
    assert not [p for p in ignored if not p.startswith("/") and any(fnmatch(n, p.rstrip("/")) for n in names)]

"""The reference has every public name, every public name has a docstring, and what has words is to be translated."""

from __future__ import annotations

import inspect
import re
from importlib import import_module
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path

import pytest

import xpnet

DOCS = Path(__file__).parent.parent / "docs"
PACKAGE = Path(xpnet.__file__).parent
SHOWN = {
    module
    for page in sorted((DOCS / "reference").glob("*.md"))
    for module in re.findall(r"automodule:: (\S+)", page.read_text(encoding="utf-8"))
}
#: Not for programs to import: the command line, what lies behind `xpnet bench`, and how files and numbers are kept.
INSIDE = {"cli", "drawing", "serialization", "stacked", "throughput", "backends"}
NEEDS = {"xpnet.sklearn": "sklearn", "xpnet.onnx": "onnx"}


def public(module):
    """The names that a module offers: its ``__all__``, else what it defines itself."""
    if hasattr(module, "__all__"):
        return list(module.__all__)
    own = (n for n, v in vars(module).items() if getattr(v, "__module__", None) == module.__name__)
    return [name for name in own if not name.startswith("_")]


def loaded(name):
    if name in NEEDS:
        pytest.importorskip(NEEDS[name], reason=f"{name} needs {NEEDS[name]}, which is not installed")
    return import_module(name)


def test_every_package_stands_in_the_reference():
    packages = {path.parent.name for path in PACKAGE.glob("*/__init__.py")}
    modules = {p.stem for p in PACKAGE.glob("*.py") if not p.stem.startswith("_")} & set(xpnet.__all__)
    wanted = {f"xpnet.{name}" for name in (packages | modules) - INSIDE}
    assert wanted - SHOWN == set()


def test_what_xpnet_itself_offers_is_in_one_of_them():
    offered = {id(getattr(xpnet, name)): name for name in xpnet.__all__ if not inspect.ismodule(getattr(xpnet, name))}
    shown = {id(getattr(m, n)) for m in map(import_module, SHOWN - set(NEEDS)) for n in public(m)}
    assert sorted(name for key, name in offered.items() if key not in shown) == []


@pytest.mark.parametrize("name", sorted(SHOWN))
def test_every_public_name_has_a_docstring(name):
    module = loaded(name)
    without = []
    for public_name in public(module):
        thing = getattr(module, public_name)
        if not (inspect.isclass(thing) or inspect.isroutine(thing)):
            continue
        if not inspect.getdoc(thing):
            without.append(public_name)
        for member, value in vars(thing).items() if inspect.isclass(thing) else ():
            documentable = inspect.isroutine(value) or isinstance(value, property | staticmethod | classmethod)
            if not member.startswith("_") and documentable and not inspect.getdoc(getattr(thing, member)):
                without.append(f"{public_name}.{member}")
    if __debug__ or module.__doc__:  # under -OO there are none
        assert without == []
    assert inspect.getdoc(module) or not __debug__


@pytest.fixture(scope="module")
def build():
    """``docs/build.py``, which needs Sphinx only when it builds."""
    spec = spec_from_file_location("docs_build", DOCS / "build.py")
    module = module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("110 ms", False),
        ("-0.0004 ± 0.0034", False),
        ("y = x W + b", False),
        ("CuPy", False),
        ("array-api-strict", False),
        ("PyTorch, float32", False),
        ("`hungry`, `man`", False),
        ("{mod}`xpnet.book`", False),
        ("`make_vjp(f)(x)` → `vjp, y`", False),
        ("活性化関数", False),
        ("2.9 times", True),
        ("NumPyro", True),
        ("`pip install xpnet` brings it", True),
        ("{mod}`xpnet.book` has the book's layers", True),
        ("An array, strict", True),
    ],
)
def test_what_has_words_is_to_be_translated(build, text, words):
    assert build.has_words(text) is words

"""Names that a package imports when they are first asked for, so that a program waits for what it uses alone."""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping
from importlib import import_module
from typing import Any

from xpnet.hints import missing


def later(
    package: str, where: Mapping[str, str], modules: str = ""
) -> tuple[Callable[[str], Any], Callable[[], list[str]]]:
    """``__getattr__`` and ``__dir__`` of a package (PEP 562).

    Type checkers read the imports that stand under ``TYPE_CHECKING`` beside the call.

    Args:
        package: its ``__name__``.
        where: names, with spaces between, by the module of the package that has them.
        modules: modules of the package that are names of it, with spaces between.
    """
    home = {name: f"{package}.{module}" for module, names in where.items() for name in names.split()}
    home |= dict.fromkeys(modules.split(), "")

    def get(name: str) -> Any:
        if name not in home:
            raise missing(package, name)
        value = getattr(import_module(home[name]), name) if home[name] else import_module(f"{package}.{name}")
        setattr(sys.modules[package], name, value)  # the next time nothing is asked
        return value

    return get, lambda: sorted({*vars(sys.modules[package]), *home})

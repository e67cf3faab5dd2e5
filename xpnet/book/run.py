"""Running a script of the book as it is: from its folder, with what it imports served, and put back afterwards."""

from __future__ import annotations

import builtins
import os
import pickle
import runpy
import sys
import traceback
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from importlib.machinery import ModuleSpec, PathFinder, SourceFileLoader
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np

from xpnet.book import pickles, served
from xpnet.book.devices import Device, Numbers
from xpnet.book.pictures import Pictures
from xpnet.serialization.atomic import path_of

#: What the book's loader of MNIST needs beside it to work offline: its own file, or the four that it makes it of.
DIGITS = ("mnist.pkl", "train-images-idx3-ubyte.gz")

#: What brings the libraries that the scripts draw with.
EXTRAS = {"matplotlib": "plot", "PIL": "images"}


def run(
    script: str | Path,
    arguments: Sequence[str] = (),
    *,
    device: Device | None = None,
    own: bool = False,
    tell: Callable[[str], None] = print,
) -> None:
    """Run a script of the book: from its folder, with ``common`` and ``dataset`` served by xpnet.

    Args:
        script: the file.
        arguments: what the script finds in ``sys.argv``.
        device: what it computes on, from :func:`xpnet.book.devices.device_of`; None for NumPy.
        own: whether the book's own ``common`` and ``dataset`` go first where they stand beside the script's folder.
        tell: what is told where pictures are, and what stands in for what.

    Raises:
        FileNotFoundError: there is no such script.
        ImportError: see :func:`xpnet.book.install`.
        Exception: whatever the script raises, with a note of the line where a device was part of it.
    """
    path = _script(path_of(script))
    numbers = np if device is None else Numbers(device)
    pictures = Pictures(path, tell, device)
    imports = _Imports(path, numbers, device, pictures)
    served.install(numbers, _served(path, own, tell))
    before = sys.argv, sys.path[:], Path.cwd(), set(sys.modules)
    sys.meta_path.insert(0, imports)
    for entry in [entry for entry in sys.path_importer_cache if not os.path.isabs(entry)]:  # noqa: PTH117
        del sys.path_importer_cache[entry]  # `..` is remembered as what it was in another folder
    try:
        sys.argv = [str(path), *arguments]
        sys.path.insert(0, str(path.parent))
        os.chdir(path.parent)
        pictures.watch()
        runpy.run_path(str(path), {"__builtins__": imports.builtins}, "__main__")
    except Exception as error:
        extra = EXTRAS.get(getattr(error, "name", None) or "")
        if isinstance(error, ModuleNotFoundError) and extra:
            error.add_note(f'pip install "xpnet[{extra}]" installs it')
        if device is not None:
            line = next((f for f in reversed(traceback.extract_tb(error.__traceback__)) if imports.is_near(f[0])), None)
            where = f"{Path(line.filename).name}, line {line.lineno}: " if line else ""
            error.add_note(f"{where}np is the namespace of backend {device.name!r} here; --backend numpy has NumPy's")
        raise
    finally:
        sys.meta_path.remove(imports)
        served.uninstall()
        pictures.step_out()
        sys.argv, sys.path[:] = before[0], before[1]
        os.chdir(before[2])
        for name in [name for name in sys.modules if name not in before[3] and imports.are_near(name)]:
            del sys.modules[name]  # two chapters have each a two_layer_net of their own


def _script(script: Path) -> Path:
    path = whole(script)
    if path.is_file():
        return path
    if path.is_dir():
        raise FileNotFoundError(f"{script} is a folder, expected a script; {_scripts_in(path)}")
    near = path.parent
    about = _scripts_in(near) if near.is_dir() else f"there is no folder {script.parent} either"
    raise FileNotFoundError(f"there is no script {script}; {about}")


def whole(path: Path) -> Path:
    """From the root on, and without ``..``; links stay, as the book's folders stand beside what one typed."""
    return Path(os.path.abspath(path))  # noqa: PTH100


def _scripts_in(folder: Path) -> str:
    names = sorted(path.name for path in folder.glob("*.py"))
    return f"it has: {', '.join(names)}" if names else "there is no script in that folder"


def _served(script: Path, own: bool, tell: Callable[[str], None]) -> list[str]:
    """Which of the book's packages are served."""
    if not own:
        return list(served.PACKAGES)
    there = {name: script.parent.parent / name for name in served.PACKAGES}
    wanted = [name for name, folder in there.items() if not folder.is_dir()]
    if "dataset" not in wanted and not any((there["dataset"] / digits).is_file() for digits in DIGITS):
        wanted.append("dataset")
    for name in served.PACKAGES:
        tell(f"{name}: {'served by xpnet' if name in wanted else there[name]}")
    return wanted


class _Imports:
    """What ``import`` means in a script and in the files beside it.

    NumPy is the device's namespace there and nowhere else, and ``pickle`` reads what is a dict of arrays only.
    """

    def __init__(self, script: Path, numbers: Any, device: Device | None, pictures: Pictures) -> None:
        self.folders = [script.parent, *(script.parent.parent / name for name in served.PACKAGES)]
        self.numbers, self.device, self.pictures = numbers, device, pictures
        self.pickle = _pickle(device)
        self.builtins = {**vars(builtins), "__import__": self.imported}

    def imported(self, name: str, globals_: Any = None, locals_: Any = None, names: Any = (), level: int = 0) -> Any:
        if level == 0:
            top, _, inner = name.partition(".")
            if name == "pickle":
                return self.pickle
            if top == "numpy" and self.device is not None:
                return getattr(self.numbers, inner) if inner and names else self.numbers
        found = builtins.__import__(name, globals_, locals_, names, level)
        self.pictures.watch()
        return found

    def find_spec(self, name: str, path: Any = None, target: Any = None) -> ModuleSpec | None:
        """A module beside the script imports as the script does."""
        spec = PathFinder.find_spec(name, path, target)
        if spec is None or type(spec.loader) is not SourceFileLoader or not self.is_near(spec.origin or ""):
            return None
        spec.loader = _Loader(spec.loader.name, spec.loader.path, self.builtins)
        return spec

    def is_near(self, file: str) -> bool:
        """Whether it is the script, a file beside it, or one of the book's own modules."""
        return bool(file) and whole(Path(file)).parent in self.folders

    def are_near(self, name: str) -> bool:
        """Whether an imported module is one of these files, or a package of the book."""
        return name in served.PACKAGES or self.is_near(getattr(sys.modules[name], "__file__", None) or "")


class _Loader(SourceFileLoader):
    def __init__(self, name: str, path: str, own: dict[str, Any]) -> None:
        super().__init__(name, path)
        self.own = own

    def exec_module(self, module: ModuleType) -> None:
        vars(module)["__builtins__"] = self.own
        super().exec_module(module)


def _pickle(device: Device | None) -> ModuleType:
    """The module ``pickle`` as scripts get it: it saves arrays of the device as NumPy's, and loads them as its own."""

    def loaded(found: dict[str, Any]) -> dict[str, Any]:
        return found if device is None else {name: device.library.asarray(a) for name, a in found.items()}

    def on_host(x: Any) -> Any:
        if device is None:
            return x
        return {name: device.host(value) for name, value in x.items()} if isinstance(x, dict) else device.host(x)

    module = ModuleType("pickle", pickle.__doc__)
    module.__dict__.update({name: value for name, value in vars(pickle).items() if not name.startswith("__")})
    module.__dict__.update(
        load=lambda file, **_: loaded(pickles.read(file)),
        loads=lambda data, **_: loaded(pickles.loads(data)),
        dump=lambda x, file, *args, **options: pickle.dump(on_host(x), file, *args, **options),
        dumps=lambda x, *args, **options: pickle.dumps(on_host(x), *args, **options),
    )
    return module


@contextmanager
def errors_of(script: Path) -> Iterator[None]:
    """An error of the script is told as Python tells it, from the script's first line on, and ends the program."""
    try:
        yield
    except Exception as error:
        told = traceback.TracebackException.from_exception(error)
        frames = list(told.stack)
        first = next((i for i, frame in enumerate(frames) if Path(frame.filename) == whole(script)), None)
        if first is None and not (isinstance(error, SyntaxError) and error.filename == str(whole(script))):
            raise
        told.stack = traceback.StackSummary.from_list(frames[first:] if first is not None else [])
        sys.stderr.write("".join(told.format()))
        raise SystemExit(1) from None

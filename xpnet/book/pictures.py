"""What a script draws: shown where there is a display, else saved beside the script; and pictures that it lacks."""

from __future__ import annotations

import os
import sys
import tempfile
from collections.abc import Callable
from functools import wraps
from inspect import isfunction
from pathlib import Path
from typing import Any

import numpy as np

from xpnet.book.devices import Device

#: Backends of matplotlib that show nothing.
SILENT = ("agg", "cairo", "pdf", "pgf", "ps", "svg", "template")


class Pictures:
    """Stands between a script and the libraries that it draws with, once these are imported.

    Args:
        script: the script; its pictures are called after it.
        tell: what is told where they are.
        device: where the script's arrays are, or None for NumPy.
    """

    def __init__(self, script: Path, tell: Callable[[str], None], device: Device | None) -> None:
        self.script, self.tell, self.device = script, tell, device
        self.saved = 0
        self._before: list[tuple[Any, str, Any]] = []

    def watch(self) -> None:
        """Step in where a library has been imported since the last call."""
        for name, step_in in (
            ("matplotlib.pyplot", self._pyplot),
            ("matplotlib.pylab", self._shows),
            ("matplotlib.image", self._reads),
            ("matplotlib.axes", self._draws),
            ("mpl_toolkits.mplot3d.axes3d", self._draws),
            ("PIL.Image", self._pillow),
        ):
            module = sys.modules.get(name)
            if module is not None and not any(owner is module for owner, _, _ in self._before):
                self._before.append((module, "__name__", name))
                step_in(module)

    def step_out(self) -> None:
        """Leave the libraries as they were."""
        for owner, name, value in reversed(self._before):
            setattr(owner, name, value)
        self._before.clear()

    def _replace(self, owner: Any, name: str, value: Any) -> None:
        self._before.append((owner, name, getattr(owner, name)))
        setattr(owner, name, value)

    def _pyplot(self, module: Any) -> None:
        self._shows(module)
        self._reads(module)

    def _shows(self, module: Any) -> None:
        if module.get_backend().lower() in SILENT:
            self._replace(module, "show", self._saving())

    def _saving(self) -> Callable[..., None]:
        def show(*_: Any, **__: Any) -> None:  # a function, as matplotlib gives it attributes
            plt = sys.modules["matplotlib.pyplot"]
            for number in plt.get_fignums():
                self._save(plt.figure(number).savefig)
            plt.close("all")

        return show

    def _reads(self, module: Any) -> None:
        read = module.imread

        @wraps(read)
        def imread(name: Any, *args: Any, **options: Any) -> Any:
            try:
                found = read(name, *args, **options)
            except FileNotFoundError:
                if not _is_sample(name):
                    raise
                found = own_picture(colours=not _is_gray(name))
                self.tell(f"{name} is not there: a picture of xpnet's own stands in for it")
            return found if self.device is None else self.device.library.asarray(found)

        self._replace(module, "imread", imread)

    def _draws(self, module: Any) -> None:
        """Axes get arrays of the host."""
        if self.device is None:
            return
        for kind in [kind for kind in vars(module).values() if isinstance(kind, type) and "Axes" in kind.__name__]:
            for owner in (owner for owner in kind.__mro__ if owner.__module__.startswith(("matplotlib.axes", "mpl_"))):
                for name, method in list(vars(owner).items()):
                    if isfunction(method) and not name.startswith("_") and not hasattr(method, "of_host"):
                        self._replace(owner, name, self._of_host(method))

    def _of_host(self, function: Callable[..., Any]) -> Callable[..., Any]:
        assert self.device is not None
        host = self.device.host

        @wraps(function)
        def taken(*args: Any, **options: Any) -> Any:
            return function(*map(host, args), **{name: host(value) for name, value in options.items()})

        taken.of_host = True  # type: ignore[attr-defined]
        return taken

    def _pillow(self, module: Any) -> None:
        if self.device is not None:
            self._replace(module, "fromarray", self._of_host(module.fromarray))
        if not _has_display():
            self._replace(module.Image, "show", lambda image, *_, **__: self._save(image.save))

    def _save(self, save: Callable[[Path], Any]) -> None:
        self.saved += 1
        path = self.script.with_name(f"{self.script.stem}{'' if self.saved == 1 else f'-{self.saved}'}.png")
        try:
            save(path)
        except OSError:  # the book may lie in a folder that cannot be written to
            path = Path(tempfile.mkdtemp(prefix="xpnet-book-")) / path.name
            save(path)
        self.tell(f"figure saved: {path}")


def _has_display() -> bool:
    if os.environ.get("MPLBACKEND", "").lower() in SILENT:
        return False
    return sys.platform in ("darwin", "win32") or bool({"DISPLAY", "WAYLAND_DISPLAY"} & os.environ.keys())


def _is_sample(name: Any) -> bool:
    """Whether it is one of the pictures that come with the book: ``../dataset/lena.png``."""
    return isinstance(name, str | Path) and Path(name).parent.name == "dataset" and Path(name).suffix == ".png"


def _is_gray(name: Any) -> bool:
    return Path(name).stem.endswith("gray")


def own_picture(size: int = 256, *, colours: bool = False) -> np.ndarray:
    """A grey picture (size, size) of numbers from 0 to 1, or one of three equal channels (size, size, 3).

    It has what filters tell apart: edges in all directions, a disc, stripes that get finer, and a slope.

    >>> own_picture().shape, own_picture(colours=True).shape
    ((256, 256), (256, 256, 3))
    """
    y, x = np.mgrid[0:size, 0:size] / size
    picture = 0.2 + 0.5 * x
    picture += 0.3 * (((x - 0.35) ** 2 + (y - 0.35) ** 2) < 0.05)
    picture -= 0.3 * ((np.abs(x - 0.7) + np.abs(y - 0.3)) < 0.18)
    stripes = 0.5 + 0.5 * np.sign(np.sin(2 * np.pi * (4 * x + 16 * x * x)))
    picture = np.where(y > 0.75, stripes, picture)
    picture = np.clip(picture, 0, 1).astype(np.float32)
    return np.stack([picture] * 3, axis=-1) if colours else picture

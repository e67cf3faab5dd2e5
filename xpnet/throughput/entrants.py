"""Who takes part in a comparison: libraries on devices, compiled or not; and a reason for each that cannot."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from xpnet.backends.dispatch import Backend, BackendUnavailableError, backend_names, backend_status, get_backend

#: The others are not for speed: strict is NumPy with checks, and Dask runs forward passes of arrays larger than memory.
MEASURED = tuple(name for name in backend_names() if name not in ("strict", "dask"))
#: Those that somebody who has a GPU expects to see on it.
FOR_GPUS = ("cupy", "torch", "jax")
#: Compiled by default, and worth knowing as they are: what is compiled away there is the time of launches.
ALSO_EAGER = ("cupy",)


@dataclass(frozen=True)
class Entrant:
    """A library on a device; ``compiled`` says whether ``Backend.compile`` is called."""

    backend: Backend
    compiled: bool

    @property
    def name(self) -> str:
        usual = self.backend.compiles_by_default
        asked = "" if self.compiled == usual else " compiled" if self.compiled else " eager"
        return f"{self.backend.name}{asked} {self.backend.device_name}"

    @property
    def on_gpu(self) -> bool:
        return not self.backend.device_name.lower().startswith("cpu")


@dataclass(frozen=True)
class NotRun:
    """Who could not take part, and why."""

    name: str
    why: str


def entrants(
    names: Iterable[str],
    devices: Sequence[str] = (),
    *,
    compiled: bool = False,
    dtype: str = "float32",
    compute_dtype: str | None = None,
) -> tuple[list[Entrant], list[NotRun]]:
    """All that can train here, of these backends, on these devices or else on all there are.

    Steps are compiled where that takes no time worth speaking of. With ``compiled``, the others take part twice, and so
    does CuPy: compiled and as it is. Where no devices are named, libraries for GPUs that find none are told as missing.
    """
    found: list[Entrant] = []
    missing: list[NotRun] = []
    for name in names:
        status = backend_status(name)
        if status.problem:
            missing.append(NotRun(name, status.problem))
            continue
        for device in devices or status.devices:
            try:
                backend = get_backend(name, device)
                backend.check_trains()
                backend.dtype(dtype)
                if compute_dtype is not None:
                    backend.half_dtype(compute_dtype)
            except (ValueError, BackendUnavailableError) as error:
                missing.append(NotRun(f"{name} {device}", str(error)))
                continue
            found += [Entrant(backend, way) for way in _ways(backend, compiled)]
        if name in FOR_GPUS and not devices and all(d.startswith("cpu") for d in status.devices):
            missing.append(NotRun(f"{name} cuda", _no_gpu(name)))
    return list(dict.fromkeys(found)), missing


def _ways(backend: Backend, compiled: bool) -> tuple[bool, ...]:
    if backend.compiles_by_default:
        return (False, True) if compiled and backend.name in ALSO_EAGER else (True,)
    return (False, True) if compiled else (False,)


def _no_gpu(name: str) -> str:
    """What a library that has no GPU here says when it is asked for one."""
    try:
        get_backend(name, "cuda")
    except (ValueError, BackendUnavailableError) as error:
        return str(error)
    return f"backend {name!r} finds no GPU"

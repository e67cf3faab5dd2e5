"""Who takes part in a comparison: libraries on devices, compiled or not; and a reason for each that cannot."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from xpnet.backends.dispatch import Backend, BackendUnavailableError, backend_names, backend_status, get_backend

#: The others are not for speed: strict is NumPy with checks, and Dask runs forward passes of arrays larger than memory.
MEASURED = tuple(name for name in backend_names() if name not in ("strict", "dask"))


@dataclass(frozen=True)
class Entrant:
    """A library on a device; ``compiled`` says whether ``Backend.compile`` is called."""

    backend: Backend
    compiled: bool

    @property
    def name(self) -> str:
        asked = " compiled" if self.compiled and not self.backend.compiles_by_default else ""
        return f"{self.backend.name}{asked} {self.backend.device_name}"


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

    Steps are compiled where that takes no time worth speaking of. With ``compiled``, the others take part twice.
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
            usual = backend.compiles_by_default
            found += [Entrant(backend, way) for way in ((True,) if usual else (False, True) if compiled else (False,))]
    return list(dict.fromkeys(found)), missing

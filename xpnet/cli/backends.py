"""``xpnet backends``: which array libraries can be used here, and how fast they multiply matrices."""

from __future__ import annotations

import time

import click

from xpnet import throughput
from xpnet.backends.base import Status
from xpnet.backends.dispatch import BackendUnavailableError, backend_names, backend_status, get_backend
from xpnet.backends.registry import OURS

#: Before each measurement: the idle threads of some libraries keep a core busy for a while after their work.
PAUSE = 0.1


@click.command(short_help="Show which array libraries can be used here, and how fast they are.")
def backends() -> None:
    """Show every backend: its version, its devices, how fast they multiply matrices, and why it cannot be used here.

    Backends that other packages bring come last.

    The rate is that of float32 products, the best seen in a moment, in GFLOP/s; the backends strict (for tests) and
    dask (for forward passes) are not for speed and have none.
    """
    from tabulate import tabulate

    statuses = [backend_status(name) for name in backend_names()]
    rates = {s.name: _rates(s) for s in statuses}
    _again(rates)
    rows = []
    for s in statuses:
        shown = [f"{rates[s.name][device]:,.0f}" if device in rates[s.name] else "-" for device in s.devices]
        version = s.version or ("not installed" if s.name in OURS else "-")
        devices = "\n".join(s.devices) or "-"
        rows.append([s.name, version, devices, "\n".join(shown) or "-", s.problem or "yes"])
    headers = ["backend", "version", "devices", "float32 GFLOP/s", "can be used here"]
    widths = [None, None, None, None, 64]
    click.echo(tabulate(rows, headers, tablefmt="simple", maxcolwidths=widths, disable_numparse=True))
    click.echo("\n" + "\n".join(_notes(rates)))


def _rates(status: Status) -> dict[str, float]:
    """GFLOP/s by device, of those that can be measured."""
    found = {}
    for device in status.devices if status.name in throughput.MEASURED else ():
        time.sleep(PAUSE)
        try:
            found[device] = throughput.matrix_rate(get_backend(status.name, device))
        except BackendUnavailableError:
            raise
        except Exception as error:  # libraries have errors of their own for a device that is full, or lost
            click.echo(f"{status.name} {device} multiplies no matrices: {type(error).__name__}: {error}", err=True)
    return found


def _again(rates: dict[str, dict[str, float]]) -> None:
    """Measure NumPy twice more if it seems slow: something else may have kept a core busy."""
    own, others = _on_cpu(rates)
    for _ in range(2):
        if own is not None and throughput.is_slow(own, others):
            time.sleep(PAUSE)
            own = max(own, throughput.matrix_rate(get_backend("numpy")))
            rates["numpy"]["cpu"] = own


def _on_cpu(rates: dict[str, dict[str, float]]) -> tuple[float | None, dict[str, float]]:
    """The rates on the processor: NumPy's, and those of the others by name."""
    found = {f"{name} {d}": r for name, devices in rates.items() for d, r in devices.items() if d.startswith("cpu")}
    return found.pop("numpy cpu", None), found


def _notes(rates: dict[str, dict[str, float]]) -> list[str]:
    """What NumPy computes with, and whether it could be faster."""
    blas = throughput.numpy_blas()
    own, others = _on_cpu(rates)
    advice = [throughput.kernel_advice(blas)]
    advice += [throughput.rate_advice(blas, own, others, throughput.cores())] if own else []
    return [f"NumPy multiplies with {blas}.", *(f"{text}." for text in advice if text)]

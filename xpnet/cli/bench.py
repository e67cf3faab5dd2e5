"""``xpnet bench``: how fast MNIST is trained on, on each library and device here; where a GPU begins to pay."""

from __future__ import annotations

import json
import os
import statistics
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import click

import xpnet
from xpnet import plotting, throughput
from xpnet._checks import check_positive
from xpnet.backends.base import DTYPES, HALF_DTYPES
from xpnet.cli import run, scaling
from xpnet.cli.common import PATH, Sizes, errors_in_one_line
from xpnet.cli.output import tell
from xpnet.cli.results import write_each
from xpnet.cli.wide import Wide
from xpnet.cli.words import in_options
from xpnet.datasets import mnist
from xpnet.serialization import atomic
from xpnet.streams import printable
from xpnet.throughput import Cell, Comparison, Entrant, Job, NotRun

RESULT, PICTURE = "throughput.json", "throughput.png"
BATCH_SIZES, HIDDEN = "10,100,1000,10000", "50,500,2000"

#: What the quartiles of a measurement may be apart, as a factor, on a machine that does nothing else.
STEADY = 1.5

WORK = (
    "steps of MNIST training: TwoLayerNet 784-hidden-10, ReLU, softmax with cross-entropy, SGD 0.1; uint8 images on "
    "the device, minibatch gather and division by 255 included"
)


@click.command(short_help="Compare the speed of training on every library and device here.")
@click.option(
    "--backend",
    type=click.Choice(throughput.MEASURED),
    multiple=True,
    help="Array library; may be given several times. [default: all]",
)
@click.option("--device", multiple=True, help="Device, cuda for example; several times. [default: all of each library]")
@click.option("--batch-sizes", type=Sizes(), default=BATCH_SIZES, show_default=True, help="Samples a minibatch.")
@click.option("--hidden", type=Sizes(), default=HIDDEN, show_default=True, help="Hidden units, each a network.")
@click.option("--dtype", type=click.Choice(DTYPES), default="float32", show_default=True, help="What it computes in.")
@click.option(
    "--compute-dtype", type=click.Choice(HALF_DTYPES), help="Measure mixed precision: 16 bits, with weights in float32."
)
@click.option(
    "--tf32/--no-tf32", default=None, help="Multiply float32 in TF32 on GPUs, or not. [default: as each library has it]"
)
@click.option(
    "--compile", "compiled", is_flag=True, help="Measure PyTorch compiled as well, which takes long, and CuPy as it is."
)
@click.option(
    "--wide/--no-wide",
    default=None,
    help="Measure 784-4096-4096-10 on minibatches of 8192 as well, on CPUs too. [default: on GPUs only]",
)
@click.option(
    "--processes",
    type=scaling.Numbers(),
    help="Compare numbers of processes that train together by MPI, 1,2,4 for example, instead of libraries.",
)
@click.option("--threads", type=click.IntRange(1), help="Of each process, with --processes. [default: 1]")
@click.option(
    "--seconds", type=click.FloatRange(1), default=100, show_default=True, help="Seconds for all measurements."
)
@click.option("--seed", type=click.IntRange(0), default=0, show_default=True, help="Of weights, minibatches and turns.")
@click.option("--out", type=PATH, help="Folder for the results. [default: xpnet-runs/DATE-TIME]")
@click.option("--overwrite", is_flag=True, help="Replace earlier results in --out.")
@click.option("--no-plot", is_flag=True, help="Draw no picture.")
@click.option("--quiet", is_flag=True, help="Print only the table and what could not be run.")
def bench(**options: Any) -> None:
    """Compare the speed of training on MNIST on every array library and device here: samples a second.

    All train the same networks from the same weights on the same minibatches, in turns of a tenth of a second in random
    order; the table has medians. Before any time counts, the first losses must be those of NumPy to 0.1 %, and the
    weights must have moved as NumPy's did. What does not fit in --seconds is left out, the largest first. NumPy and JAX
    compile their steps, PyTorch does with --compile. The backends strict (for tests) and dask (for forward passes) are
    not for speed and take no part.

    GPUs also train 784-4096-4096-10 on minibatches of 8192, which is compared with the rate at which they multiply
    matrices.

    With --processes 1,2,4 one library, NumPy unless --backend says otherwise, trains each network by so many processes,
    in turns, started by mpiexec on this machine: the table has speed-up and efficiency.

    Ctrl-C ends the measurements and keeps what there is; another Ctrl-C leaves at once.
    """
    if options["processes"]:
        _processes(options)
        return
    if options["threads"]:
        raise click.UsageError("--threads is for --processes; libraries are compared on the threads that they take")
    with run.Signals() as signals, ExitStack() as held:
        with errors_in_one_line():
            data = mnist(normalize=False)[0]
            check_positive(options["seconds"], "--seconds", "100")
            jobs = _jobs(options, len(data[0]))
            names = options["backend"] or throughput.MEASURED
            os.environ.setdefault("XLA_PYTHON_CLIENT_PREALLOCATE", "false")  # the memory of a GPU is for all libraries
            how = {name: options[name] for name in ("compiled", "dtype", "compute_dtype")}
            entrants, missing = throughput.entrants(names, options["device"], **how)
            if not entrants:
                raise click.ClickException("nothing can be measured:\n" + _missing(missing))
            looked_for = not options["device"] and bool(set(names) & {*throughput.FOR_GPUS})
            usual = options["compute_dtype"] is None and options["tf32"] is None  # as are the rates of its products
            chosen = {"wanted": options["wide"] if usual else False, "expected": looked_for, "seed": options["seed"]}
            wide = Wide(entrants, samples=len(data[0]), **chosen)
            overwrite, names = options["overwrite"], (RESULT, PICTURE)
            folder = held.enter_context(run.output_folder(options["out"], names, overwrite=overwrite, command="bench"))
        jobs += [wide.job] if wide.job else []
        settings: dict[str, Any] = {"seconds": options["seconds"], "seed": options["seed"], "takes": wide.takes}
        tell = None if options["quiet"] else _tell
        comparison = Comparison(entrants, data, jobs, stop=lambda: bool(signals.received), tell=tell, **settings)
        _title(entrants, options)
        comparison.run()
        wide.look(comparison)
        made, failed = _save(comparison, missing, wide, folder, options)
        _report(comparison, missing, wide, made)
        if not options["quiet"] and any(e.backend.name == "numpy" for e in entrants):
            _tell_kernels()
    if failed:
        raise click.ClickException("; ".join(failed))
    if signals.status:
        raise SystemExit(signals.status)
    if not any(cell.measured for cell in comparison.cells):
        raise click.ClickException("nothing was measured; the reasons are above")


def _processes(options: dict[str, Any]) -> None:
    with run.Signals() as signals, ExitStack() as held:
        with errors_in_one_line():
            check_positive(options["seconds"], "--seconds", "100")
            comparison = scaling.Processes(options, _jobs(options, len(mnist(normalize=False)[0][0])))
            overwrite, names = options["overwrite"], (scaling.RESULT, scaling.PICTURE)
            folder = held.enter_context(run.output_folder(options["out"], names, overwrite=overwrite, command="bench"))
            comparison.run(lambda: bool(signals.received))
        made, failed = comparison.save(folder)
        comparison.report(made)
    if failed:
        raise click.ClickException("; ".join(failed))
    if signals.status:
        raise SystemExit(signals.status)
    if not comparison.measured:
        raise click.ClickException("nothing was measured; the reasons are above")


def _jobs(options: dict[str, Any], samples: int) -> list[Job]:
    largest = max(options["batch_sizes"])
    if largest > samples:
        raise ValueError(f"--batch-sizes: a minibatch of {largest}, and there are {samples} digits to train on")
    sizes = [(hidden, batch) for hidden in options["hidden"] for batch in options["batch_sizes"]]
    if options["compute_dtype"] and options["dtype"] != "float32":
        raise ValueError(f"--compute-dtype is for --dtype float32, and it is {options['dtype']}")
    how = {name: options[name] for name in ("seed", "dtype", "compute_dtype", "tf32")}
    return [Job(*pair, **how) for pair in dict.fromkeys(sizes)]


def _title(entrants: list[Entrant], options: dict[str, Any]) -> None:
    if not options["quiet"]:
        names = ", ".join(e.name for e in entrants)
        click.echo(f"{names}; {_precision(entrants, options)}, about {options['seconds']:g} s", err=True)


def _precision(entrants: list[Entrant], options: dict[str, Any]) -> str:
    """What is computed in, and who of them does so in TF32."""
    fast = [e.name for e in entrants if _tf32(e, options)]
    dtypes: str = options["dtype"] + _mixed(options["compute_dtype"])
    return dtypes + (f", TF32 on {', '.join(fast)}" if fast else "")


def _mixed(compute_dtype: str | None) -> str:
    return f", computed in {compute_dtype}" if compute_dtype else ""


def _tf32(e: Entrant, options: dict[str, Any]) -> bool | str | None:
    with e.backend.current(), e.backend.with_tf32(options["tf32"]):
        return e.backend.tf32


def _tell(cell: Cell) -> None:
    """A line of progress."""
    done = [f"{name} {m.samples_per_second:,.0f}" for name, m in cell.measured.items()]
    done += [f"{name} {_short(why)}" for name, why in cell.problems.items()]
    click.echo(f"hidden {_hidden(cell)}, batch {cell.job.batch_size}: {'; '.join(done)}", err=True)


def _hidden(cell: Cell) -> str:
    return "-".join(map(str, cell.job.sizes[1:-1]))


def _short(why: str) -> str:
    """The word for it that fits in a table."""
    return next((word for word in ("wrong", "failed", "could not be compiled") if why.startswith(word)), "left out")


def _report(comparison: Comparison, missing: list[NotRun], wide: Wide, made: list[str]) -> None:
    """The table, all that is not in it, and what was written."""
    from tabulate import tabulate

    names = [e.name for e in comparison.entrants]
    cells = _in_order(comparison)
    rows = []
    for cell in cells:
        shown = [_entry(cell, name) for name in names]
        rates = {name: m.samples_per_second for name, m in cell.measured.items()}
        rows.append(
            [_hidden(cell), cell.job.batch_size, *shown, max(rates, key=rates.__getitem__) if len(rates) > 1 else "-"]
        )
    headers = ["hidden", "batch", *names, "fastest"]
    align = ["right"] * (len(headers) - 1) + ["left"]
    table = tabulate(rows, headers, tablefmt="simple", disable_numparse=True, colalign=align if rows else None)
    lines = [
        f"samples/s, medians{_mixed(comparison.jobs[0].compute_dtype)}",
        table,
        *_changes(comparison),
        *_unsteady(cells),
        *_reasons(comparison, cells),
    ]
    lines += ["Not run:\n" + _missing(missing)] if missing else []
    tell("\n".join([*lines, *wide.lines(), *made]))


def _tell_kernels() -> None:
    """What NumPy multiplies with, and whether other kernels may be faster."""
    blas = throughput.numpy_blas()
    tell(f"NumPy multiplies with {blas}.")
    if advice := throughput.kernel_advice(blas):
        tell(f"{advice}.")


def _in_order(comparison: Comparison) -> list[Cell]:
    return sorted(comparison.cells, key=lambda cell: (cell.job.depth, cell.job.hidden, cell.job.batch_size))


def _entry(cell: Cell, name: str) -> str:
    if name in cell.measured:
        return f"{cell.measured[name].samples_per_second:,.0f}"
    return _short(cell.problems[name]) if name in cell.problems else "-"


def _rates(comparison: Comparison) -> dict[int, dict[str, dict[int, float]]]:
    """Samples a second, by hidden units, entrant and batch size."""
    found: dict[int, dict[str, dict[int, float]]] = {}
    for cell in _in_order(comparison):
        for entrant in comparison.entrants:
            if cell.job.depth == 1 and entrant.name in cell.measured:
                lines = found.setdefault(cell.job.hidden, {})
                rate = cell.measured[entrant.name].samples_per_second
                lines.setdefault(entrant.name, {})[cell.job.batch_size] = rate
    return found


def _changes(comparison: Comparison) -> list[str]:
    """Who is the fastest from which batch size on."""
    lines = []
    for hidden, rates in _rates(comparison).items():
        found = plotting.overtakings(rates)
        if found:
            parts = [f"{name} from about {float(f'{size:.2g}'):,.0f}" for size, name in found]
            lines.append(f"The fastest changes with {hidden} hidden units, over batch size: {', '.join(parts)}")
    return lines


def _unsteady(cells: list[Cell]) -> list[str]:
    """A warning where the machine had something else to do."""
    spreads = [m.spread for cell in cells for m in cell.measured.values()]
    bad = sum(spread > STEADY for spread in spreads)
    if not bad:
        return []
    what = f"in {bad} of {len(spreads)} measurements the quartiles of the rounds are more than a factor {STEADY} apart"
    return [f"Unsteady: {what}; something else may be running, and small differences mean nothing"]


def _reasons(comparison: Comparison, cells: list[Cell]) -> list[str]:
    """A line for each reason why a place in the table has no number, with all the places that it is true of."""
    places: dict[tuple[str, str], list[str]] = {}
    for cell in cells:
        for name, why in cell.problems.items():
            places.setdefault((name, why), []).append(f"{_hidden(cell)} x {cell.job.batch_size}")
    lines = [f"{name}, hidden x batch {', '.join(where)}: {why}" for (name, why), where in places.items()]
    rest = len(comparison.jobs) - len(cells)
    return lines + ([f"Interrupted: {rest} of {len(comparison.jobs)} rows were not begun"] if rest else [])


def _missing(missing: list[NotRun]) -> str:
    return "\n".join(f"  {each.name}: {in_options(each.why)}" for each in missing)


def _save(
    comparison: Comparison, missing: list[NotRun], wide: Wide, folder: Path, options: dict[str, Any]
) -> tuple[list[str], list[str]]:
    """Write the numbers and the picture, one even if the other fails; returns a line for each, and what failed."""
    result, mixed = _result(comparison, missing, options) | {"wide": wide.result()}, _mixed(options["compute_dtype"])
    panels = {f"{hidden} hidden units{mixed}": rates for hidden, rates in _rates(comparison).items()}
    writers: dict[str, Callable[[Path], Any]] = {
        RESULT: lambda path: atomic.write_bytes(path, (json.dumps(result, indent=1) + "\n").encode())
    }
    if panels and not options["no_plot"]:
        writers[PICTURE] = lambda path: atomic.write_bytes(path, plotting.png(plotting.crossovers(panels)))
    made, failed = write_each(folder, writers, lambda path: f"wrote {printable(path)}", stale=[PICTURE])
    return [] if options["quiet"] else made, failed


def _result(comparison: Comparison, missing: list[NotRun], options: dict[str, Any]) -> dict[str, Any]:
    """All there is to know, as JSON can hold it."""
    entrants = comparison.entrants
    return {
        "work": WORK,
        "xpnet": xpnet.__version__,
        "machine": throughput.described([e.backend for e in entrants]),
        "settings": {k: v for k, v in options.items() if k not in ("out", "overwrite", "no_plot", "quiet")},
        "seconds": round(comparison.used, 3),
        "entrants": [_entrant(e, options) for e in entrants],
        "not_run": {each.name: each.why for each in missing},
        "cells": [line for cell in _in_order(comparison) for line in _lines(cell)],
    }


def _entrant(e: Entrant, options: dict[str, Any]) -> dict[str, Any]:
    model = throughput.device_model(e.backend)
    return {"name": e.name, "backend": e.backend.name, "device": e.backend.device_name, "model": model} | {
        "compiled": e.compiled,
        "compute_dtype": options["compute_dtype"],
        "tf32": _tf32(e, options),
    }


def _lines(cell: Cell) -> list[dict[str, Any]]:
    where: dict[str, Any] = {"hidden": cell.job.hidden, "depth": cell.job.depth, "batch_size": cell.job.batch_size}
    lines = [where | {"entrant": name, "problem": why} for name, why in cell.problems.items()]
    for name, m in cell.measured.items():
        middle = statistics.median(m.rounds) / m.steps
        found = {"samples_per_second": m.samples_per_second, "seconds_per_step": middle, "steps_per_round": m.steps}
        found["spread"] = m.spread
        lines.append(where | {"entrant": name} | found | {"warm_up_seconds": m.warm_up_seconds, "rounds": m.rounds})
    return lines

"""``xpnet bench --processes 1,2,4``: how much faster several processes train than one."""

from __future__ import annotations

import importlib.util
import json
import random
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import click

import xpnet
from xpnet import plotting, throughput
from xpnet.backends.dispatch import Backend
from xpnet.cli.output import tell
from xpnet.cli.results import write_each
from xpnet.parallel import ParallelUnavailableError
from xpnet.serialization import atomic
from xpnet.streams import printable
from xpnet.throughput import Job, processes
from xpnet.throughput.processes import Scaling

RESULT, PICTURE = "processes.json", "processes.png"
#: What the comparison of libraries has, and this has not.
OTHERS = {"compiled": "--compile", "wide": "--wide"}


class Numbers(click.ParamType):  # type: ignore[type-arg]
    """Numbers of processes: 1,2,4."""

    name = "numbers"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> tuple[int, ...]:
        if isinstance(value, tuple):
            return value
        numbers = tuple(int(number) if number.isdecimal() else 0 for number in str(value).split(","))
        if min(numbers) < 1:
            self.fail(f"{value!r} are no numbers of processes with commas between: 1,2,4", param, ctx)
        return numbers


class Processes:
    """The comparison that the options of the command ask for, checked.

    Attributes:
        found: what came of it so far, in the order of the jobs' arithmetic.
    """

    def __init__(self, options: dict[str, Any], jobs: list[Job]) -> None:
        self.options, self.numbers = options, sorted(set(options["processes"]))
        self.jobs = sorted(jobs, key=lambda job: (job.operations, job.batch_size))
        self.backend = _backend(options)
        self.found: list[Scaling] = []
        if self.numbers[-1] > 1:
            _check_mpi()

    def run(self, stop: Callable[[], bool]) -> None:
        """Measure until all is done, or the time is over, or ``stop`` says so."""
        options, clock = self.options, time.monotonic
        end = clock() + options["seconds"]
        turns = random.Random(options["seed"])
        device = (options["device"] or [None])[0]
        with processes.groups(self.numbers, self.backend, device, options["threads"] or 1) as begun:
            for i, job in enumerate(self.jobs):
                if stop():
                    return
                now = clock()
                if now < end:
                    until = now + (end - now) / (len(self.jobs) - i)
                    self.found.append(processes.measure(job, begun, until=until, stop=stop, turns=turns))
                else:
                    why = f"the {options['seconds']:g} seconds were over"
                    self.found.append(Scaling(job, problems=dict.fromkeys(self.numbers, why)))
                if not options["quiet"]:
                    click.echo(f"hidden {job.hidden}, batch {job.batch_size}: done", err=True)

    @property
    def measured(self) -> bool:
        return any(scaling.times for scaling in self.found)

    def save(self, folder: Path) -> tuple[list[str], list[str]]:
        """Write the numbers and the picture; returns a line for each, and what failed."""
        writers: dict[str, Callable[[Path], Any]] = {
            RESULT: lambda path: atomic.write_bytes(path, (json.dumps(self._result(), indent=1) + "\n").encode())
        }
        panels = self._panels()
        if panels and not self.options["no_plot"]:
            writers[PICTURE] = lambda path: atomic.write_bytes(path, plotting.png(plotting.speedups(panels)))
        made, failed = write_each(folder, writers, lambda path: f"wrote {printable(path)}", stale=[PICTURE])
        return [] if self.options["quiet"] else made, failed

    def report(self, made: list[str]) -> None:
        """The table, all that is not in it, and what was written."""
        from tabulate import tabulate

        rows, reasons = [], []
        for scaling in self._in_order():
            job = scaling.job
            for n in sorted(scaling.times):
                seconds = scaling.seconds(n)
                shown = [f"{seconds * 1e6:,.0f}", f"{job.batch_size / seconds:,.0f}"]
                shown += [f"{scaling.speedup(n):.2f}", f"{scaling.efficiency(n):.2f}"]
                rows.append([job.hidden, job.batch_size, n, *shown])
            reasons += [f"{job.hidden} x {job.batch_size}, {n}: {why}" for n, why in scaling.problems.items()]
        headers = ["hidden", "batch", "processes", "µs a step", "samples/s", "speed-up", "efficiency"]
        align = ["right"] * len(headers) if rows else None
        lines = [f"{self.backend.name}, {self.options['threads'] or 1} thread(s) a process, medians"]
        lines += [tabulate(rows, headers, tablefmt="simple", disable_numparse=True, colalign=align), *reasons]
        rest = len(self.jobs) - len(self.found)
        lines += [f"Interrupted: {rest} of {len(self.jobs)} jobs were not begun"] if rest else []
        cores, most = throughput.cores(), self.numbers[-1] * (self.options["threads"] or 1)
        if most > cores:
            lines.append(f"{most} threads share {cores} cores: more than {cores} wait for each other and show nothing")
        tell("\n".join(lines + made))

    def _in_order(self) -> list[Scaling]:
        return sorted(self.found, key=lambda scaling: (scaling.job.hidden, scaling.job.batch_size))

    def _panels(self) -> dict[str, dict[str, dict[int, float]]]:
        panels: dict[str, dict[str, dict[int, float]]] = {}
        for scaling in self._in_order():
            if scaling.times:
                line = {n: scaling.speedup(n) for n in scaling.times}
                panels.setdefault(f"{scaling.job.hidden} hidden units", {})[f"batch {scaling.job.batch_size}"] = line
        return panels

    def _result(self) -> dict[str, Any]:
        """All there is to know, as JSON can hold it."""
        rows = []
        for scaling in self._in_order():
            where: dict[str, Any] = {"hidden": scaling.job.hidden, "batch_size": scaling.job.batch_size}
            rows += [where | {"processes": n, "problem": why} for n, why in scaling.problems.items()]
            for n, times in scaling.times.items():
                found = {"seconds_per_step": scaling.seconds(n), "steps_per_round": scaling.steps}
                found |= {"speedup": scaling.speedup(n), "efficiency": scaling.efficiency(n)}
                rows.append(where | {"processes": n} | found | {"rounds": times.seconds, "processor": times.processor})
        left_out = ("out", "overwrite", "no_plot", "quiet", *OTHERS)
        return {
            "xpnet": xpnet.__version__,
            "machine": throughput.described([self.backend]),
            "settings": {name: value for name, value in self.options.items() if name not in left_out},
            "rows": rows,
        }


def _backend(options: dict[str, Any]) -> Backend:
    """The one that is compared with itself."""
    for name, option in OTHERS.items():
        if options[name] is not None and options[name] is not False:
            raise ValueError(f"{option} and --processes: numbers of processes are compared for one library, compiled")
    names = options["backend"] or ("numpy",)
    if len(names) > 1 or len(options["device"]) > 1:
        raise ValueError("--processes compares numbers of processes for one --backend on one --device")
    found, missing = throughput.entrants(names, options["device"], dtype=options["dtype"])
    if not found:
        raise ValueError(f"{missing[0].name}: {missing[0].why}")
    return found[0].backend


def _check_mpi() -> None:
    if importlib.util.find_spec("mpi4py") is None:
        raise ParallelUnavailableError(f"--processes needs mpi4py, which is not installed; {processes.INSTALL}")
    processes.mpiexec()

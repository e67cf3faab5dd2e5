"""How well two processes use two cores, and a model of how far that goes: 8 to 256 machines, 10 and 100 Gbit/s.

First part: the same training by one process and by two and four, of one thread each, in turns. A process alone is the
unit; efficiency is its time over that of p processes, divided by p.

Second part, a model and not a measurement. A step of p processes with a minibatch of B takes

    T(p) = a + u/p + c B/p + A(p),    A(p) = 2 log2(p) L + 2 (p - 1)/p n/W

seconds: what every process does whatever its rows are, its part of the update, what it does for each row, and the sums
of parts of n bytes of gradients and the new weights by halving and doubling (Thakur, Rabenseifner, Gropp, "Optimization
of collective communication operations in MPICH", 2005), with latency L and bandwidth W. ``a + u`` and ``c`` are fitted
to steps of one process on a whole, a half and a quarter of the minibatch, which is what each process has of it where
there are 1, 2 and 4; ``u`` is the time of an update by itself; L and W are fitted to sums of many sizes by 2 and 4
processes on this machine, in its memory. Among machines, W is that of the network if that is less, and the latency of
the network is added to L.

    python benchmarks/scaling.py --rounds 15 --out scaling.json
    python benchmarks/scaling.py --only model --from scaling.json       # the table again, from what was measured
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
import time
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, replace
from itertools import count, pairwise
from math import log2
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[1]))
import numpy as np

from xpnet import SGD, Adam, MultiLayerNet
from xpnet._typing import Array, Params, State
from xpnet.backends.base import Block, Data
from xpnet.backends.dispatch import get_backend, namespace
from xpnet.throughput import Job, described
from xpnet.throughput.processes import Group, GroupError, groups, measure
from xpnet.throughput.training import CLASSES, LEARNING_RATE, PIXELS
from xpnet.training import init_state

#: What is trained; the seed step is for the record.
JOBS = {
    "wide": Job(1000, 1000),
    "deep": Job(500, 100, depth=2, adam=True),
    "seed": Job(50, 100),
    "huge": Job(4096, 8192, depth=2),
}
#: Those whose efficiency is measured here; the last one takes seconds a step on two cores, and is modelled alone.
MEASURED = ("wide", "deep", "seed")
#: What an efficiency on two cores is to be at the least.
GOALS = {"wide": 0.85, "deep": 0.8}
PROCESSES = (1, 2, 4)
#: Bytes of the sums that the model is fitted to.
SIZES = tuple(2**k for k in (3, 8, 12, 14, 16, 18, 20, 22, 23))
#: Bytes a second and the latency of a message of networks of machines; the latencies are what such networks have.
NETWORKS = {"10 Gbit/s": (1.25e9, 30e-6), "100 Gbit/s": (12.5e9, 5e-6)}
#: A turn of the model lasts about so many seconds, which is short enough to be left alone at times; the first ones of
#: a job tell how many steps that is. Sums come in so many at a time.
SHORT, WARM_UP, SUMS = 5e-3, 3, 5
MACHINES = (8, 16, 32, 64, 128, 256)
WHAT = (
    "A model, not a measurement: speed-up and efficiency of the same minibatch on so many machines, a process each; in "
    "brackets the efficiency where the minibatch grows with them, so that each has as many rows as one machine had."
)


@dataclass(frozen=True)
class Step:
    """Seconds of a step that every process takes, of the whole update, and a row; rows, and bytes to add up."""

    fixed: float
    update: float
    row: float
    rows: int
    bytes: int


@dataclass(frozen=True)
class Sum:
    """Seconds of latency and bytes a second of adding up over processes."""

    latency: float
    bandwidth: float

    def seconds(self, processes: int, size: int) -> float:
        """A(p)."""
        return 2 * log2(processes) * self.latency + 2 * (processes - 1) / processes * size / self.bandwidth


def fit_step(seconds: dict[int, float], update: float, rows: int, size: int) -> Step:
    """The line through the seconds of a step by rows of one process, of which none is negative, less the update."""
    whole, row = _not_negative([[1.0, n] for n in seconds], list(seconds.values()))
    update = min(update, whole)
    return Step(whole - update, update, row, rows, size)


def fit_sum(measured: Iterable[tuple[int, int, float]]) -> Sum:
    """Latency and bandwidth from ``(processes, bytes, seconds)``; relative errors count, so small sums do as well."""
    triples = list(measured)
    terms = [[2 * log2(p), 2 * (p - 1) / p * n] for p, n, _ in triples]
    latency, per_byte = _not_negative(terms, [seconds for *_, seconds in triples])
    return Sum(latency, 1 / per_byte if per_byte else float("inf"))


def _not_negative(terms: Sequence[Sequence[float]], seconds: Sequence[float]) -> tuple[float, float]:
    """The two coefficients, not negative, with the least squares of relative errors."""
    a, ones = np.asarray(terms) / np.asarray(seconds)[:, None], np.ones(len(seconds))
    both = np.linalg.lstsq(a, ones, rcond=None)[0]
    if min(both) >= 0:
        return float(both[0]), float(both[1])
    alone = [float(column @ ones / (column @ column)) for column in a.T]  # one of the two is 0
    errors = [float(np.square(column * x - 1).sum()) for column, x in zip(a.T, alone, strict=True)]
    return (alone[0], 0.0) if errors[0] <= errors[1] else (0.0, alone[1])


def predicted(step: Step, sums: Sum, processes: int, *, grows: bool = False) -> tuple[float, float]:
    """Speed-up and efficiency: of the same minibatch, or of one that grows so that each has as many rows as one had."""
    alone = step.fixed + step.update + step.row * step.rows
    share = step.rows if grows else step.rows / processes
    added_up = sums.seconds(processes, step.bytes) if processes > 1 else 0.0
    seconds = step.fixed + step.update / processes + step.row * share + added_up
    speedup = alone / seconds * (processes if grows else 1)
    return speedup, speedup / processes


def on_network(sums: Sum, bandwidth: float, latency: float) -> Sum:
    """The sum among machines: what it costs here and the latency of the network, at the bandwidth that is less."""
    return Sum(sums.latency + latency, min(sums.bandwidth, bandwidth))


def model_table(steps: dict[str, Step], sums: Sum) -> str:
    """The prediction as Markdown, which says what it is."""
    lines = [
        WHAT,
        "",
        "| job | network | " + " | ".join(map(str, MACHINES)) + " |",
        "| --- | --- |" + " --- |" * len(MACHINES),
    ]
    for name, step in steps.items():
        for network, (bandwidth, latency) in NETWORKS.items():
            among = on_network(sums, bandwidth, latency)
            cells = [_cell(step, among, p) for p in MACHINES]
            lines.append(f"| {name} | {network} | " + " | ".join(cells) + " |")
    return "\n".join(lines)


def _cell(step: Step, sums: Sum, processes: int) -> str:
    _, growing = predicted(step, sums, processes, grows=True)
    if processes > step.rows:
        return f"- ({growing:.0%})"
    speedup, efficiency = predicted(step, sums, processes)
    return f"{speedup:.1f}, {efficiency:.0%} ({growing:.0%})"


def fitted_text(steps: dict[str, Step], sums: Sum) -> str:
    """What was fitted, a line each."""
    lines = [
        f"{name}: a = {s.fixed * 1e6:,.0f} µs, u = {s.update * 1e6:,.0f} µs, c = {s.row * 1e6:.2f} µs a row, "
        f"{s.rows} rows, {s.bytes / 1e6:.2f} MB"
        for name, s in steps.items()
    ]
    lines.append(f"sums: L = {sums.latency * 1e6:.1f} µs, W = {sums.bandwidth / 1e9:.2f} GB/s")
    return "\n".join(lines)


def checked_text(steps: dict[str, Step], sums: Sum, measured: dict[str, Any]) -> str:
    """What the model says of two processes on this machine, beside what was measured."""
    lines = []
    for name, step in steps.items():
        row = {str(p): found for p, found in measured.get(name, {}).items()}.get("2")  # JSON has numbers as text
        if isinstance(row, dict):
            said = predicted(step, sums, 2)[1]
            both = f"the model says efficiency {said:.2f}, measured {row['efficiency']:.2f}"
            lines.append(f"{name}, two processes here: {both}")
    return "\n".join(lines)


def gradient_bytes(job: Job) -> int:
    """Of the gradients of weights and biases, in float32."""
    return 4 * sum(n * m + m for n, m in pairwise(job.sizes))


def efficiencies(args: argparse.Namespace, result: dict[str, Any]) -> None:
    """One process, two and four, in turns; tells as it goes."""
    with groups(PROCESSES, get_backend("numpy"), None, 1) as begun:
        for name in MEASURED:
            found = measure(JOBS[name], begun, until=time.monotonic() + args.seconds, rounds=args.rounds)
            if 1 not in found.times:
                raise SystemExit(f"{name}: {found.problems[1]}")
            rows: dict[int, Any] = {}
            for p, times in found.times.items():
                alone = found.times[1]
                rows[p] = {
                    "µs a step": found.seconds(p) * 1e6,
                    "speed-up": found.speedup(p),
                    "efficiency": found.efficiency(p),
                    "of the least times": min(alone.seconds) / min(times.seconds) / p,
                    "of processor time": statistics.median(
                        a / b for a, b in zip(alone.processor, times.processor, strict=False)
                    ),
                    "rounds": len(times.seconds),
                }
            result["efficiency"][name] = rows | {str(p): why for p, why in found.problems.items()}
            print(efficiency_text(name, rows), flush=True)


def efficiency_text(name: str, rows: dict[int, dict[str, float]]) -> str:
    lines = [f"{name}: {'-'.join(map(str, JOBS[name].sizes))}, batch {JOBS[name].batch_size}, a thread each"]
    for p, row in rows.items():
        shown = f"{row['µs a step']:10,.0f} µs  speed-up {row['speed-up']:5.2f}  efficiency {row['efficiency']:5.2f}"
        more = f"of the least times {row['of the least times']:5.2f}, of processor time {row['of processor time']:5.2f}"
        lines.append(f"  {p} {'process  ' if p == 1 else 'processes'} {shown}  ({more})")
    if name in GOALS and 2 in rows:
        reached = "reached" if rows[2]["efficiency"] >= GOALS[name] else "missed"
        lines.append(f"  at least {GOALS[name]} on two cores: {reached}")
    return "\n".join(lines)


def measure_model(args: argparse.Namespace, result: dict[str, Any]) -> None:
    """Steps of one process on parts of the minibatch, in turns, and sums by 2 and 4; the least times of short ones."""
    with groups(PROCESSES, get_backend("numpy"), None, 1) as begun:
        for name in [name for name in JOBS if name != "huge" or args.huge]:
            seconds = part_seconds(JOBS[name], begun[1], args.seconds)
            update = update_seconds(JOBS[name], args.seconds / 10)
            step = fit_step(seconds, update, JOBS[name].batch_size, gradient_bytes(JOBS[name]))
            result["steps"][name] = asdict(step) | {"measured": seconds}
        for size in SIZES:
            for p in PROCESSES[1:]:
                turns = [begun[p].ask(bytes=size, times=SUMS)["seconds"] / SUMS for _ in range(10 * args.rounds)]
                result["sums"].append([p, size, min(turns)])


def part_seconds(job: Job, alone: Group, most: float) -> dict[int, float]:
    """The least time of a step of one process on a whole, a half and a quarter of the minibatch, by its rows."""
    jobs = [asdict(replace(job, batch_size=job.batch_size // part)) for part in PROCESSES]
    steps, least, end = [1] * len(jobs), [float("inf")] * len(jobs), time.monotonic() + most
    for turn in count():
        for i, part in enumerate(jobs):
            found = alone.ask(job=part, steps=steps[i])["seconds"] / steps[i]
            if turn < WARM_UP:
                steps[i] = max(1, round(SHORT / found))
            else:
                least[i] = min(least[i], found)
        if turn > WARM_UP and time.monotonic() > end:
            break
    return {part["batch_size"]: seconds for part, seconds in zip(jobs, least, strict=True)}


def update_seconds(job: Job, most: float) -> float:
    """The least time of an update by itself, recorded as that of a step of one process is."""
    net = MultiLayerNet(PIXELS, [job.hidden] * job.depth, CLASSES, seed=0, backend="numpy")
    optimizer = Adam() if job.adam else SGD(lr=LEARNING_RATE)

    def update(state: State, grads: Data, _: Array, __: Params) -> tuple[State, Array]:
        params, optimized = optimizer.step(state["params"], grads, state["optimizer"])
        return state | {"params": params, "optimizer": optimized}, namespace(params["b1"]).sum(params["b1"])

    step, state, grads = net.backend.compile(update), init_state(net, optimizer), net.own_params()
    block, least, end = Block(np.zeros((SUMS, 1), np.int64), {}), float("inf"), time.monotonic() + most
    while time.monotonic() < end:
        begun = time.perf_counter()
        state, _ = step.run(state, grads, block)
        least = min(least, (time.perf_counter() - begun) / SUMS)
    return least


def main() -> None:
    args = arguments()
    result: dict[str, Any] = {"efficiency": {}, "steps": {}, "sums": []}
    if args.given:
        result = json.loads(args.given.read_text())
    else:
        result |= described([get_backend("numpy")])
    if args.only in (None, "efficiency"):
        efficiencies(args, result)
    if args.only in (None, "model"):
        if not args.given:
            measure_model(args, result)
        fields = ("fixed", "update", "row", "rows", "bytes")
        steps = {name: Step(**{key: found[key] for key in fields}) for name, found in result["steps"].items()}
        sums = fit_sum(map(tuple, result["sums"]))
        result["fitted"] = asdict(sums)
        said = fitted_text(steps, sums), checked_text(steps, sums, result["efficiency"]), model_table(steps, sums)
        print(*filter(None, said), sep="\n\n")
    if args.out:
        args.out.write_text(json.dumps(result, indent=1) + "\n")
        print(f"wrote {args.out}")


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", choices=("efficiency", "model"), help="one of the two parts (default both)")
    parser.add_argument("--rounds", type=int, default=15, help="turns of each (default 15)")
    parser.add_argument("--seconds", type=float, default=30.0, help="the most for each job (default 30)")
    parser.add_argument("--huge", action="store_true", help="model 784-4096-4096-10, batch 8192, too: minutes")
    parser.add_argument(
        "--from", dest="given", type=Path, help="a JSON of before, instead of measuring the model's parts"
    )
    parser.add_argument("--out", type=Path, help="where the JSON goes")
    return parser.parse_args()


if __name__ == "__main__":
    try:
        main()
    except GroupError as error:
        raise SystemExit(str(error)) from error

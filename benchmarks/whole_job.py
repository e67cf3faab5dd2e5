"""What a person waits for: ``xpnet train``, from the command to its last file, and scripts that do the same elsewhere.

Start-up, data, compilation, 10,000 steps of 784-50-10 on minibatches of 100, losses and accuracies of all training and
test data at the start and after each epoch, weights and history in files. Each is a process of its own; they take turns
in random order. The table has the time on the clock, the time that its threads computed, which other programs disturb
less, and the most memory.

    python benchmarks/whole_job.py --rounds 5
    python benchmarks/whole_job.py --only xpnet-numpy,jax --threads 1
"""

from __future__ import annotations

import argparse
import json
import os
import random
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from machine import described, limit_cores

HERE = Path(__file__).parent
XPNET = [sys.executable, "-m", "xpnet", "train", "--no-plot", "--seed", "0"]
#: What all others are compared with comes first.
COMMANDS = {
    "torch": [sys.executable, str(HERE / "jobs" / "torch_script.py")],
    "jax": [sys.executable, str(HERE / "jobs" / "jax_script.py")],
    "xpnet-numpy": XPNET,
    "xpnet-jax": [*XPNET, "--backend", "jax"],
    "xpnet-torch": [*XPNET, "--backend", "torch"],
}
UNIT = "torch"
FIELDS = ("wall s", "cpu s", "peak MB")


def main() -> None:
    args = arguments()
    limit_cores(args.threads)
    found: dict[str, list[tuple[float, float, float]]] = {name: [] for name in dict.fromkeys([UNIT, *args.only])}
    for number in range(args.rounds):
        for name in random.sample(list(found), len(found)):  # no one always runs after the same one
            found[name].append(run(name, args.iterations))
        print(f"round {number + 1} of {args.rounds}", file=sys.stderr, flush=True)
    rows = {name: row(runs, found[UNIT]) for name, runs in found.items()}
    result = {"iterations": args.iterations, "rounds": args.rounds, "unit": UNIT, "jobs": rows} | described(
        args.threads, None
    )
    print(table(rows))
    out = args.out or HERE / "results" / f"whole_job_cpu_{args.threads}.json"
    out.write_text(json.dumps(result, indent=1) + "\n")
    print(f"wrote {out}")


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--threads", type=int, default=2, help="cores to run on (default 2)")
    parser.add_argument("--rounds", type=int, default=5, help="runs of each (default 5)")
    parser.add_argument("--iterations", type=int, default=10_000, help="steps, fewer for a trial (default 10000)")
    parser.add_argument("--only", type=lambda text: text.split(","), default=list(COMMANDS), help="which (default all)")
    parser.add_argument("--out", type=Path, help="the JSON (default benchmarks/results/whole_job_cpu_THREADS.json)")
    args = parser.parse_args()
    if unknown := set(args.only) - set(COMMANDS):
        parser.error(f"unknown: {', '.join(sorted(unknown))}; known: {', '.join(COMMANDS)}")
    return args


def run(name: str, iterations: int) -> tuple[float, float, float]:
    """Seconds on the clock, seconds of computing and megabytes of one run."""
    with tempfile.TemporaryDirectory() as folder:
        out = str(Path(folder) / "out")
        more = ["--out", out, "--iterations", str(iterations)] if name.startswith("xpnet") else [out, str(iterations)]
        begun = time.perf_counter()
        process = subprocess.Popen([*COMMANDS[name], *more], stdout=subprocess.DEVNULL)
        _, status, used = os.wait4(process.pid, 0)
        seconds = time.perf_counter() - begun
        process.returncode = os.waitstatus_to_exitcode(status)
        if process.returncode:
            raise SystemExit(f"{name} ended with status {process.returncode}")
        if not (Path(out) / "history.json").stat().st_size:
            raise SystemExit(f"{name} left no history")
    return seconds, used.ru_utime + used.ru_stime, used.ru_maxrss / (2**20 if sys.platform == "darwin" else 2**10)


def row(runs: list[tuple[float, ...]], unit: list[tuple[float, ...]]) -> dict[str, float]:
    """Medians, and medians of the ratios of each round."""
    found = {
        name: round(statistics.median(values), 3) for name, values in zip(FIELDS, zip(*runs, strict=True), strict=True)
    }
    for i, name in enumerate(("wall", "cpu")):
        ratios = [run[i] / base[i] for run, base in zip(runs, unit, strict=True)]
        found[f"{name} of {UNIT}"] = round(statistics.median(ratios), 3)
    return found


def table(rows: dict[str, dict[str, float]]) -> str:
    lines = [f"{'':14}" + "".join(f"{name:>15}" for name in rows[UNIT])]
    lines += [f"{name:14}" + "".join(f"{value:15.2f}" for value in values.values()) for name, values in rows.items()]
    return "\n".join(lines)


if __name__ == "__main__":
    main()

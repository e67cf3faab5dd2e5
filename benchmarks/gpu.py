"""All that xpnet has to show on a GPU, within eight minutes and without a network: one page, one JSON and one picture.

Training steps beside PyTorch and JAX, small ones and wide ones; the rate at which the card multiplies matrices; the
main job on each library; the tests on each library; where the GPU begins to pay. Stages come in the order of what they
are worth to a reader: where time is short the last ones are cut, and the page says so. One that fails is told, and the
others go on.

    python benchmarks/gpu.py
    python benchmarks/gpu.py --device cpu --trial                       # a look at every stage, without a GPU
    PYTHONPATH=tests/standins python benchmarks/gpu.py --trial          # with CuPy's stand-in, if CuPy is not installed
"""

from __future__ import annotations

import argparse
import importlib.util
import json
import os
import subprocess
import sys
import tempfile
import time
from dataclasses import asdict
from pathlib import Path
from typing import Any

from gpu_page import crossover, goals, page, stand_in
from gpu_stages import Command, Outcome, Stage, take
from machine import described

HERE, ROOT = Path(__file__).parent, Path(__file__).parents[1]
PEERS = HERE / "peers"
sys.path[:0] = [str(ROOT), str(PEERS)]
from compare import FULL, SHARED, TF32  # noqa: E402  (this and the next are found where the line above says)

import xpnet  # noqa: E402
from xpnet.throughput import cores  # noqa: E402

#: The libraries that are tried, by kind of device.
LIBRARIES = {"cuda": ("cupy", "jax", "torch"), "cpu": ("numpy", "jax", "torch")}
SEED = {
    "cuda": "xpnet-cupy,torch-graph,jax-scan,xpnet-torch,xpnet-jax,xpnet-cupy-eager,xpnet-torch-eager",
    "cpu": "xpnet-numpy,jax-scan,xpnet-jax",
}
WIDE = {"cuda": "xpnet-cupy,torch-graph,jax-scan,xpnet-torch,xpnet-jax", "cpu": "xpnet-numpy,xpnet-jax"}
#: What ``nvidia-smi`` is asked.
ASKED = (
    *("name", "driver_version", "memory.total", "memory.used", "utilization.gpu", "temperature.gpu", "power.draw"),
    *("power.limit", "clocks.sm", "clocks.max.sm", "clocks.mem", "mig.mode.current"),
)


def main() -> None:
    args = arguments()
    begun = time.monotonic()
    found = rates(args)
    absent = {name: rate["failure"] for name, rate in found.items() if "failure" in rate}
    if len(absent) == len(found):
        why = "; ".join(f"{name}: {reason}" for name, reason in absent.items())
        print(
            f"nothing computes on {args.device} here, and --device cpu --trial tries the rest: {why}", file=sys.stderr
        )
        raise SystemExit(2)
    out = args.out.resolve()
    out.mkdir(parents=True, exist_ok=True)
    result: dict[str, Any] = {name: getattr(args, name) for name in ("device", "trial", "tf32", "minutes")}
    result |= {
        "rates": found,
        **described(args.threads, args.device),
        "xpnet": xpnet.__version__,
        "card before": card(),
    }
    done: list[tuple[Stage, list[Outcome]]] = []
    with tempfile.TemporaryDirectory() as folder:
        work = Path(folder)
        (work / "rates.json").write_text(json.dumps(found))
        for stage in stages(args, work, [name for name in found if name not in absent]):
            left = args.minutes * 60 - (time.monotonic() - begun)
            print(f"{stage.title}, {left:.0f} s left", file=sys.stderr, flush=True)
            done.append((stage, take(stage, left, ROOT)))
            result |= {"card after": card(), "seconds": round(time.monotonic() - begun, 1)}
            result |= collected(work, done, real=not (args.trial or stand_in(result)))
            write(result, work, out)  # after each, so that whatever ends this leaves what there is
    for goal in result["goals"]:
        print(f"{goal['goal']}: {goal['found']}")
    print(f"wrote {out / 'gpu.md'}, {out / 'gpu.json'}")
    failed = [f"{stage.title}: {o.name}" for stage, outcomes in done for o in outcomes if o.failed]
    if failed:
        raise SystemExit(f"failed: {'; '.join(failed)}")


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--device", choices=LIBRARIES, default="cuda", help="where to compute (default cuda)")
    parser.add_argument("--minutes", type=float, default=8.0, help="for all of it (default 8)")
    parser.add_argument("--threads", type=int, default=cores(), help="cores (default all)")
    parser.add_argument("--tf32", action="store_true", help="let GPUs round the factors of products to TF32")
    parser.add_argument("--trial", action="store_true", help="little of each, to see that all of it runs")
    parser.add_argument("--out", type=Path, default=HERE / "results" / "gpu", help="folder (default results/gpu)")
    return parser.parse_args()


def environment(args: argparse.Namespace) -> dict[str, str]:
    """What all commands are told: this checkout, memory for all libraries, and what products are rounded to."""
    path = os.pathsep.join([str(ROOT), *filter(None, [os.environ.get("PYTHONPATH")])])
    told = {"PYTHONPATH": path, "MPLBACKEND": "agg", "PYTHONUNBUFFERED": "1"}
    return told | ({} if args.device == "cpu" else SHARED | (TF32 if args.tf32 else FULL))


def rates(args: argparse.Namespace) -> dict[str, dict[str, Any]]:
    """What each library multiplies matrices at, or why it cannot; a library that takes Python with it has no reason."""
    found = {}
    for name in LIBRARIES[args.device]:
        words = [sys.executable, str(PEERS / "rates.py"), args.device, name]
        try:
            done = subprocess.run(
                words, env=os.environ | environment(args), capture_output=True, text=True, check=True, timeout=60
            )
            found |= json.loads(done.stdout.splitlines()[-1])
        except (subprocess.SubprocessError, IndexError, ValueError) as error:
            found[name] = {"failure": str(error).splitlines()[0][:300]}
    return found


def card() -> list[dict[str, str]]:
    """The GPUs as ``nvidia-smi`` has them now; none where it is not there."""
    words = ["nvidia-smi", f"--query-gpu={','.join(ASKED)}", "--format=csv,noheader"]
    try:
        said = subprocess.run(words, capture_output=True, text=True, check=True, timeout=20).stdout
    except (OSError, subprocess.SubprocessError):
        return []
    return [dict(zip(ASKED, map(str.strip, line.split(",")), strict=False)) for line in said.splitlines()]


def stages(args: argparse.Namespace, work: Path, present: list[str]) -> list[Stage]:
    """All there is to do, the most valuable first."""
    kind, trial = args.device, args.trial
    told = environment(args)
    seed, wide = (compared(args, work, *which) for which in (("seed", SEED[kind]), ("wide", WIDE[kind])))
    least = 5 if trial else 25
    found = [
        Stage("seed", "Small steps: 784-50-10, batch 100", [seed], 150, least),
        Stage("wide", "Wide steps: 784-4096-4096-10, batch 8192", [wide], 110, least),
        Stage("train", "xpnet train", [trained(args, work, name, told) for name in present], 75, least),
        Stage("tests", "The tests", [tested(args, name, told) for name in present], 130, least, together=True),
        Stage("crossover", "Where a GPU begins to pay", [benched(args, work, told)], 80, least),
    ]
    if kind != "cpu" and not args.tf32:
        other = argparse.Namespace(**vars(args) | {"tf32": True})
        found.append(
            Stage("wide-tf32", "Wide steps in TF32", [compared(other, work, "wide-tf32", WIDE[kind])], 110, least)
        )
    return found


def compared(args: argparse.Namespace, work: Path, name: str, contenders: str) -> Command:
    """A job beside PyTorch and JAX; in a trial, and only there, the wide one is not as wide."""
    job = "seed" if name == "seed" else "wide" if args.trial else "huge"
    rounds = 1 if args.trial else 10 if name == "seed" else 5
    words = [sys.executable, str(PEERS / "compare.py"), "--device", args.device, "--threads", str(args.threads)]
    words += ["--job", job, "--rounds", str(rounds), "--only", contenders, "--out", str(work / f"{name}.json")]
    words += ["--samples", "2000"] if args.trial else []
    words += ["--tf32"] if args.tf32 else []
    if name != "wide-tf32":  # there the rates are others
        words += ["--rates", str(work / "rates.json")]
    return Command(name, words, environment(args))


def trained(args: argparse.Namespace, work: Path, library: str, told: dict[str, str]) -> Command:
    """The main job: 10,000 steps, and accuracies after each epoch."""
    words = [sys.executable, "-m", "xpnet", "train", "--backend", library, "--no-plot", "--out", str(work / library)]
    words += ["--device", args.device] if library != "numpy" else []
    words += ["--compile"] if library == "torch" and args.device != "cpu" else []
    words += ["--iterations", "60"] if args.trial else []
    return Command(library, words, told)


def tested(args: argparse.Namespace, library: str, told: dict[str, str]) -> Command:
    words = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "-rf", "--tb=line"]
    if importlib.util.find_spec("xdist"):
        words += ["-n", str(max(1, args.threads // len(LIBRARIES[args.device]))), "--dist", "loadfile"]
    words += ["-m", "on_backends and not slow", "--backend", library, "--device", args.device]
    words += ["tests/test_losses.py"] if args.trial else ["tests"]
    # most of it is XLA compiling each function once; what xpnet does is the same without
    return Command(library, words, told | {"JAX_DISABLE_MOST_OPTIMIZATIONS": "1"})


def benched(args: argparse.Namespace, work: Path, told: dict[str, str]) -> Command:
    words = [sys.executable, "-m", "xpnet", "bench", "--no-plot", "--no-wide", "--out", str(work / "bench")]
    words += ["--seconds", "5" if args.trial else "60"]
    words += ["--hidden", "20,50" if args.trial else "50,2000"] + (["--batch-sizes", "10,100"] if args.trial else [])
    for name in dict.fromkeys(["numpy", *LIBRARIES[args.device]]):
        words += ["--backend", name]
    return Command("bench", words, told)


def collected(work: Path, done: list[tuple[Stage, list[Outcome]]], real: bool) -> dict[str, Any]:
    """What the stages wrote, and how each of them ended; ``real`` says whether its times are of the jobs and a GPU."""
    found: dict[str, Any] = {name: read(work / f"{name}.json") for name in ("seed", "wide", "wide-tf32")}
    found["crossover"] = read(work / "bench" / "throughput.json")
    found["train"] = {path.parent.name: last(read(path)) for path in sorted(work.glob("*/history.json"))}
    found["goals"] = goals(found["seed"], found["wide"]) if real else goals(None, None)
    found["stages"] = [
        {"name": s.name, "title": s.title, "commands": [asdict(o) for o in outcomes]} for s, outcomes in done
    ]
    return found


def last(history: dict[str, Any]) -> dict[str, Any]:
    """How a training ended."""
    end = history["evaluations"][-1]
    return {"accuracy": end["validation_accuracy"], "steps": len(history["losses"]), "seconds": history["seconds"]}


def read(path: Path) -> Any:
    """What a JSON says; None where there is none that is whole."""
    try:
        return json.loads(path.read_text())
    except (OSError, ValueError):
        return None


def write(result: dict[str, Any], work: Path, out: Path) -> None:
    """The page, the JSON and the picture, without the names of folders that are gone."""
    picture = crossover(result["crossover"], out / "crossover.png")
    clean = lambda text: text.replace(str(work), "OUT").replace(str(ROOT), ".").replace(sys.executable, "python")  # noqa: E731
    (out / "gpu.json").write_text(clean(json.dumps(result, indent=1)) + "\n")
    (out / "gpu.md").write_text(clean(page(result, picture)))


if __name__ == "__main__":
    try:
        main()
    except KeyboardInterrupt:
        raise SystemExit(130) from None

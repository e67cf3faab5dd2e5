"""One training job in xpnet and in other libraries, interleaved in one run, each in a process of its own.

Real MNIST, float32, the gather of each minibatch from all 60,000 images and the loss of each step included. All start
from the same weights and see the same minibatches; their losses are compared before any time counts.

    python benchmarks/peers/compare.py --job seed --threads 1 --rounds 20
    python benchmarks/peers/compare.py --job deep --only xpnet-numpy,jax-scan --samples 6000 --rounds 3
    python benchmarks/peers/compare.py --python keras-jax,keras-torch=other-environment/bin/python
    python benchmarks/peers/compare.py --device cuda --job huge
"""

from __future__ import annotations

import argparse
import json
import os
import random
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

sys.path.append(str(Path(__file__).parents[1]))
from contender import CONTENDERS, ON_CUDA, VARIANTS, Contender, FailedError
from machine import described, limit_threads

#: What the others are compared with, its stand-in where PyTorch does not see the GPU that they are on, and the limit.
UNIT, STAND_IN, FLOOR = "torch-eager", "torch-eager-cpu", "floor"
#: Libraries that share a GPU take no more of its memory than they need, and are told whether to round to TF32.
SHARED = {"XLA_PYTHON_CLIENT_PREALLOCATE": "false"}
FULL = {"NVIDIA_TF32_OVERRIDE": "0", "JAX_DEFAULT_MATMUL_PRECISION": "float32"}
TF32 = {"CUPY_TF32": "1", "TORCH_ALLOW_TF32_CUBLAS_OVERRIDE": "1", "JAX_DEFAULT_MATMUL_PRECISION": "tensorfloat32"}
#: Sizes of the layers, samples a minibatch, learning rate, and whether Adam takes the place of gradient descent.
JOBS = {
    "seed": {"sizes": [784, 50, 10], "batch": 100, "lr": 0.1, "adam": False},
    "wide": {"sizes": [784, 1000, 10], "batch": 1000, "lr": 0.1, "adam": False},
    "deep": {"sizes": [784, 500, 500, 10], "batch": 100, "lr": 0.001, "adam": True},
    "huge": {"sizes": [784, 4096, 4096, 10], "batch": 8192, "lr": 0.1, "adam": False},
}
#: Networks of convolutions, in the words of ``Job.layers``: a small one, the book's SimpleConvNet, and its DeepConvNet
#: without dropout, whose masks would be others in each library.
NETWORKS = {
    "convnet": "conv 16 3 1, pool, relu, conv 32 3 1, pool, relu, affine 10",
    "simple-convnet": "conv 30 5 0, relu, pool, affine 100, relu, affine 10",
    "deep-convnet": "conv 16 3 1, relu, conv 16 3 1, relu, pool, conv 32 3 1, relu, conv 32 3 2, relu, pool, "
    "conv 64 3 1, relu, conv 64 3 1, relu, pool, affine 50, relu, affine 10",
}
JOBS |= {name: {"layers": text, "batch": 100, "lr": 0.001, "adam": True} for name, text in NETWORKS.items()}
#: Small steps: rounding chooses among nearly equal entries of a pool, and by Adam, or at 0.01, PyTorch's own losses for
#: images that lie otherwise are 3e-4 apart after five steps.
JOBS["deep-convnet"] |= {"lr": 0.001, "adam": False}
#: Those that train a network of convolutions.
ON_IMAGES = (
    *("xpnet-numpy", "xpnet-torch", "xpnet-jax", "torch-channels-last"),
    *("torch-compile", "jax-scan", "keras-jax"),
)
SEED = 0
#: Turns before those that count: the first is compared step by step, in the second nothing is new any more.
WARM_UP = 2
#: Seconds before each turn.
PAUSE = 0.1
#: Losses of the first steps agree as closely as this, while rounding has not grown from step to step. Adam makes a
#: whole step of the smallest gradient, whose sign may be rounding's, so with it they part sooner.
FIRST, FIRST_RTOL = 100, 1e-4
FIRST_OF_ADAM = 10
#: TF32 has three digits, and each library adds its products up in an order of its own.
FIRST_OF_TF32, RTOL_OF_TF32 = 10, 5e-3
#: Mean losses of a turn: of the first one, and of later ones.
TURN_RTOL, TURN_RTOL_OF_ADAM, LATER_RTOL = 2e-3, 1e-2, 2e-2
#: Where a network knows its training set, a few samples make the mean loss, and rounding chooses them.
LATER_ATOL = 5e-3


def main() -> None:
    args = arguments()
    limit_threads(args.threads)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit("stopped"))  # so that the contenders are, too
    with tempfile.TemporaryDirectory() as folder:
        write_job(Path(folder), args.job, args.rounds + WARM_UP, args.samples, args.device, args.tf32)
        first = [UNIT] if args.job in NETWORKS or args.device != "cpu" else [UNIT, FLOOR]
        contenders = compare(Path(folder), [*first, *args.only], args.rounds, args.python, environment(args))
    result = {
        "job": args.job,
        **JOBS[args.job],
        "samples": args.samples,
        "dtype": "float32",
        "rounds": len(contenders[0].microseconds),
        **summary(contenders),
    }
    result |= described(args.threads, args.device)
    if args.device != "cpu":
        result |= {"tf32": args.tf32, "matrix rates": matrix_rates(args)}
    add_rates(result)
    print(table(result))
    if all("failure" in row for row in result["contenders"].values()):
        print(f"nothing can be measured on {args.device} here; the reasons are above, and no file was written")
        return
    where = args.device.replace(":", "_")
    out = args.out or Path(__file__).parents[1] / "results" / f"peers_{args.job}_{where}_{args.threads}.json"
    out.write_text(json.dumps(result, indent=1) + "\n")
    print(f"wrote {out}")


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--job", choices=JOBS, default="seed", help="what to train (default seed)")
    parser.add_argument("--threads", type=int, default=1, help="cores to run on (default 1)")
    parser.add_argument("--device", default="cpu", help="cuda: of all that can be there (default cpu)")
    parser.add_argument("--tf32", action="store_true", help="let GPUs round the factors of products to TF32")
    parser.add_argument("--rounds", type=int, default=20, help="turns of each contender, of one epoch (default 20)")
    parser.add_argument("--samples", type=int, default=60_000, help="images, fewer for a trial (default 60000)")
    parser.add_argument("--only", type=names, help=f"of {', '.join(CONTENDERS | VARIANTS)}")
    parser.add_argument("--rates", type=Path, help="what rates.py said, instead of measuring matrix rates again")
    parser.add_argument("--python", action="append", default=[], metavar="NAMES=PATH", help="their interpreter")
    parser.add_argument("--out", type=Path, help="the JSON (default benchmarks/results/peers_JOB_cpu_THREADS.json)")
    args = parser.parse_args()
    pairs = [given.partition("=")[::2] for given in args.python]
    usual = CONTENDERS if args.device == "cpu" else ON_CUDA
    args.only = args.only or list(ON_IMAGES if args.job in NETWORKS else usual)
    args.python = {name: path for chosen, path in pairs for name in names(chosen)}
    return args


def environment(args: argparse.Namespace) -> dict[str, str]:
    """What all contenders are told by the environment."""
    return {} if args.device == "cpu" else SHARED | (TF32 if args.tf32 else FULL)


def matrix_rates(args: argparse.Namespace) -> dict[str, dict]:
    """What each library multiplies matrices at on that device, in a process of its own with the same environment."""
    if args.rates:
        return json.loads(args.rates.read_text())
    command = [sys.executable, str(Path(__file__).parent / "rates.py"), args.device, "cupy", "torch", "jax"]
    done = subprocess.run(command, env=os.environ | environment(args), stdout=subprocess.PIPE, text=True, check=False)
    return json.loads(done.stdout) if done.returncode == 0 else {}


def names(text: str) -> list[str]:
    """Contenders by name; the unit and the floor run in any case."""
    unknown = set(text.split(",")) - {*CONTENDERS, *VARIANTS}
    if unknown:
        known = ", ".join(CONTENDERS | VARIANTS)
        raise argparse.ArgumentTypeError(f"unknown contenders: {', '.join(sorted(unknown))}; known: {known}")
    return text.split(",")


def write_job(
    folder: Path, job: str, turns: int, samples: int | None = None, device: str = "cpu", tf32: bool = False
) -> None:
    """What all contenders are given: settings, data, initial weights, and the minibatches that a Trainer draws."""
    import numpy as np
    from networks import network

    from xpnet.datasets import mnist
    from xpnet.training.minibatches import Minibatches

    settings = dict(JOBS[job])
    if job in NETWORKS:
        words = [layer.split() for layer in NETWORKS[job].split(",")]
        settings["layers"] = [[kind, *map(int, numbers)] for kind, *numbers in words]
    x, t = mnist(normalize=False)[0]
    samples = min(samples or len(x), len(x)) // settings["batch"] * settings["batch"]  # whole minibatches only
    images, labels = x[:samples], t[:samples]
    batches = Minibatches(len(images), settings["batch"], np.random.default_rng(SEED))
    for turn in range(turns):
        np.save(folder / f"order{turn}.npy", batches.block(batches.per_epoch).rows)
    net = network(settings, weight_init="he" if settings["adam"] or job in NETWORKS else 0.01, seed=SEED)
    for name, array in {"images": images, "labels": labels, **net.params}.items():
        np.save(folder / f"{name}.npy", array)
    more = {"seed": SEED, "turns": turns, "steps": batches.per_epoch, "device": device, "tf32": tf32}
    (folder / "job.json").write_text(json.dumps(settings | more))


def compare(
    folder: Path, chosen: list[str], rounds: int, pythons: dict[str, str], told: dict[str, str] | None = None
) -> list[Contender]:
    """All contenders, after their turns; the first one is what the others are compared with."""
    contenders: list[Contender] = []
    job = json.loads((folder / "job.json").read_text())

    def start(name: str) -> Contender:
        contender = Contender(name, folder, pythons.get(name, sys.executable), told)
        contenders.append(contender)
        attempt(contender, contender.wait_until_ready, may_fail=name != UNIT or job["device"] != "cpu")
        return contender

    try:
        for name in dict.fromkeys(chosen):
            start(name)
        if all(c.failure for c in contenders):
            return contenders
        if contenders[0].failure:
            start(STAND_IN)
            contenders.insert(0, contenders.pop())
        try:
            for number in range(rounds + WARM_UP):
                take_turns(contenders, number, job)
                print(f"turn {number + 1} of {rounds + WARM_UP}", file=sys.stderr, flush=True)
        except KeyboardInterrupt:
            if not cut(contenders):
                raise
            for contender in contenders:
                contender.process.kill()  # nobody waits until they have finished their turns
    finally:
        for contender in contenders:
            contender.end()
    return contenders


def cut(contenders: list[Contender]) -> int:
    """Keep the rounds that all have had, and tell how many these are; Ctrl-C may come in the middle of one."""
    running = [c for c in contenders if c.failure is None]
    whole = min(len(c.of_processor) for c in running)
    for c in running:
        del c.microseconds[whole:], c.of_processor[whole:]
    return whole


def attempt(contender: Contender, do, *args, may_fail: bool = True):
    """What it returns; a contender that fails is given up and the others go on, unless they are compared with it."""
    try:
        return do(*args)
    except FailedError as error:
        contender.failure = str(error)
        print(f"{contender.name}: {error}", file=sys.stderr)
        if not may_fail:
            name = contender.name
            raise SystemExit(f"{name} is what the others are compared with, and it failed: {error}") from error
        return None


def take_turns(contenders: list[Contender], number: int, job: dict) -> None:
    """One turn of each, in another order each time, and the comparison of their losses."""
    running = [c for c in contenders if c.failure is None]
    losses = {}
    for contender in random.sample(running, len(running)):  # no one always runs after the same one
        time.sleep(PAUSE)
        found = attempt(contender, contender.turn, number, may_fail=contender is not contenders[0])
        if found is None:
            continue
        seconds, losses[contender] = found
        if number >= WARM_UP:
            contender.microseconds.append(seconds / job["steps"] * 1e6)
            contender.of_processor.append(contender.processor_seconds / job["steps"] * 1e6)
    expected = losses[contenders[0]]
    for contender, found in losses.items():
        if contender.name != FLOOR:
            contender.means.append(statistics.fmean(found))
            attempt(contender, check, number, found, expected, job["adam"], job["tf32"], contenders[0].name)


def check(
    number: int, found: list[float], expected: list[float], adam: bool = False, tf32: bool = False, of: str = UNIT
) -> None:
    """That it is the same training."""
    if number == 0 and len(found) == len(expected):
        close = FIRST_OF_TF32 if tf32 else FIRST_OF_ADAM if adam else FIRST
        for step, (a, b) in enumerate(zip(found[:close], expected[:close], strict=True)):
            agree(a, b, RTOL_OF_TF32 if tf32 else FIRST_RTOL, 0.0, f"turn 0, step {step}", of)
    rtol, atol = (LATER_RTOL, LATER_ATOL) if number else (TURN_RTOL_OF_ADAM if adam or tf32 else TURN_RTOL, 0.0)
    agree(statistics.fmean(found), statistics.fmean(expected), rtol, atol, f"turn {number}, on average", of)


def agree(found: float, expected: float, rtol: float, atol: float, where: str, of: str) -> None:
    if not abs(found - expected) <= rtol * abs(expected) + atol:
        raise FailedError(f"its loss in {where}, is {found}, and {of}'s is {expected}")


def summary(contenders: list[Contender]) -> dict:
    """A row for each contender; ratios are medians of those of each round."""
    unit, processor = contenders[0].microseconds, contenders[0].of_processor
    floor = next((c.microseconds for c in contenders if c.name == FLOOR), None)
    rows = {}
    for c in contenders:
        rows[c.name] = {"versions": c.versions, "start s": round(c.start, 2)}
        if c.failure is not None:
            rows[c.name] |= {"failure": c.failure}
            continue
        rows[c.name] |= {
            "median": statistics.median(c.microseconds),
            "min": min(c.microseconds),
            "max": max(c.microseconds),
            "ratio": ratio(c.microseconds, unit),
            "processor": statistics.median(c.of_processor),
            "processor ratio": ratio(c.of_processor, processor),
            "of floor": ratio(c.microseconds, floor) if floor else None,
            "mean losses": [round(mean, 6) for mean in (c.means[:1] + c.means[-1:])],
        }
    return {"unit": "microseconds a step", "compared with": contenders[0].name, "contenders": rows}


def ratio(found: list[float], base: list[float]) -> float:
    """The median of those of each round."""
    return statistics.median(a / b for a, b in zip(found, base, strict=True))


def add_rates(result: dict) -> None:
    """GFLOP/s of each contender, counting the products of matrices alone, and their share of the best that is known."""
    if "layers" in result:
        return
    first, *rest = [n * m for n, m in zip(result["sizes"], result["sizes"][1:], strict=False)]
    operations = 2 * result["batch"] * (2 * first + 3 * sum(rest))  # nobody needs the gradient of the images
    best = max((r.get("GFLOP/s", 0) for r in result.get("matrix rates", {}).values()), default=0)
    for row in result["contenders"].values():
        if "median" in row:
            row["GFLOP/s"] = round(operations / row["median"] / 1e3, 1)
            row |= {"of matrix rate": round(row["GFLOP/s"] / best, 3)} if best else {}


def table(result: dict) -> str:
    ok = {name: row for name, row in result["contenders"].items() if "failure" not in row}
    sizes = NETWORKS.get(result["job"]) or "-".join(map(str, result["sizes"]))
    tf32 = {True: " in TF32", False: " without TF32"}.get(result.get("tf32"), "")
    what = f"{result['job']}: {sizes}, batch {result['batch']}, {result['dtype']}{tf32}"
    of = f"of {result['compared with']}"
    lines = [
        f"{what}, {result['device']}, {result['threads']} threads; µs a step",
        f"{'':22}{'median':>9}{'min':>9}{'max':>9}   {of}  processor   of {FLOOR}  GFLOP/s  of rate     start",
    ]
    for name, row in sorted(ok.items(), key=lambda item: item[1]["ratio"]):
        times = f"{row['median']:9.1f}{row['min']:9.1f}{row['max']:9.1f}"
        ratios = f"{row['ratio']:{len(of) + 3}.2f}{row['processor ratio']:11.2f}"
        floor = f"{row['of floor']:11.2f}" if row["of floor"] else 11 * " "
        rate = f"{row['GFLOP/s']:9.1f}" if "GFLOP/s" in row else 9 * " "
        share = f"{row['of matrix rate']:9.0%}" if "of matrix rate" in row else 9 * " "
        lines.append(f"{name:22}{times}{ratios}{floor}{rate}{share}{row['start s']:8.1f} s")
    lines += [f"{name:22}  {row['failure']}" for name, row in result["contenders"].items() if "failure" in row]
    for name, rate in result.get("matrix rates", {}).items():
        if "GFLOP/s" in rate:
            lines.append(f"{name} multiplies matrices at {rate['GFLOP/s']:,.0f} GFLOP/s on {rate['device']}")
    return "\n".join(lines)


if __name__ == "__main__":
    main()

"""The seed job, step by step: xpnet on each backend beside plain ``torch.nn``, interleaved in one run.

784-50-10, ReLU, softmax with cross-entropy, SGD 0.1, batch 100, float32, minibatch gather included, real MNIST. All
contenders start from the same weights and see the same minibatches; their losses are compared before any time counts.

    python benchmarks/seed_job.py --threads 1 --steps 10000 --out benchmarks/results/seed_job.json
"""

from __future__ import annotations

import argparse
import json
import random
import statistics
import time
from collections.abc import Callable
from pathlib import Path

from machine import described, limit_threads

ROUNDS = 20
#: Seconds before each turn: the idle threads of some libraries keep a core busy for a while after their work.
PAUSE = 0.1


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--threads", type=int, default=1, help="cores to run on (default 1)")
    parser.add_argument("--steps", type=int, default=10_000, help="steps of each contender (default 10000)")
    parser.add_argument("--device", help="device of torch and JAX, 'cuda' for example; NumPy stays on the CPU")
    parser.add_argument("--backends", default="numpy,torch,jax", help="xpnet's backends (default numpy,torch,jax)")
    parser.add_argument("--out", type=Path, help="write the result as JSON here")
    args = parser.parse_args()
    limit_threads(args.threads)
    result = compare(args.backends.split(","), args.device, args.steps) | described(args.threads, args.device)
    print(table(result))
    if args.out:
        args.out.write_text(json.dumps(result, indent=1) + "\n")
        print(f"wrote {args.out}")


def compare(backends: list[str], device: str | None, steps: int) -> dict:
    import numpy as np

    import xpnet
    from xpnet.datasets import mnist
    from xpnet.minibatches import Minibatches

    (x, t), _ = mnist()
    batches = Minibatches(len(x), 100, np.random.default_rng(0))
    start = xpnet.TwoLayerNet(784, 50, 10, seed=0)
    contenders = {"torch.nn eager": torch_eager(start, x, t, device)}
    for name in backends:
        contenders[f"xpnet on {name}"] = xpnet_on(start.to(name, None if name == "numpy" else device), x, t)
    for run in contenders.values():  # warm up, and back to the start
        run(batches.block(20).rows, True)
    times: dict[str, list[float]] = {name: [] for name in contenders}
    for round_ in range(ROUNDS):
        block = batches.block(steps // ROUNDS).rows
        losses = {}
        for name in random.sample(list(contenders), len(contenders)):  # no one always runs after the same one
            time.sleep(PAUSE)
            begin = time.perf_counter()
            losses[name] = contenders[name](block, False)
            times[name].append((time.perf_counter() - begin) / len(block) * 1e6)
        for name, found in losses.items():
            expected = losses["torch.nn eager"]
            if round_ == 0:  # rounding grows from step to step, so later on it is the mean that must agree
                np.testing.assert_allclose(found[:100], expected[:100], rtol=1e-4, err_msg=name)
            np.testing.assert_allclose(found.mean(), expected.mean(), rtol=1e-2, err_msg=name)
    return summary(times)


def xpnet_on(net, x, t) -> Callable:
    from xpnet import SGD, make_step

    backend = net.backend
    step = backend.compile(make_step(net, SGD(lr=0.1)))
    x, t = backend.asarray(x), backend.asarray(t)
    fresh = lambda: {"params": net.to(backend).params, "optimizer": {}}  # noqa: E731
    state = fresh()

    def run(block, reset):
        nonlocal state
        state, losses = backend.run(step, state, x, t, block)
        backend.synchronize()
        state = fresh() if reset else state
        return losses

    return run


def torch_eager(start, x, t, device) -> Callable:
    import torch

    device = torch.device(device or "cpu")
    x, t = torch.from_numpy(x).to(device), torch.from_numpy(t).long().to(device)
    loss_function = torch.nn.CrossEntropyLoss()

    def fresh():
        model = torch.nn.Sequential(torch.nn.Linear(784, 50), torch.nn.ReLU(), torch.nn.Linear(50, 10)).to(device)
        with torch.no_grad():
            for layer, k in ((model[0], 1), (model[2], 2)):
                layer.weight.copy_(torch.from_numpy(start.params[f"W{k}"].T.copy()))
                layer.bias.copy_(torch.from_numpy(start.params[f"b{k}"]))
        return model, torch.optim.SGD(model.parameters(), lr=0.1)

    model, optimizer = fresh()

    def run(block, reset):
        nonlocal model, optimizer
        losses = []
        for rows in torch.from_numpy(block).to(device):
            optimizer.zero_grad()
            loss = loss_function(model(x[rows]), t[rows])
            loss.backward()
            optimizer.step()
            losses.append(loss.detach())
        found = torch.stack(losses).cpu().numpy()
        if reset:
            model, optimizer = fresh()
        return found

    return run


def summary(times: dict[str, list[float]]) -> dict:
    base = times["torch.nn eager"]
    return {
        "job": "784-50-10, batch 100, SGD, float32, gather included; microseconds a step",
        "rounds": ROUNDS,
        "contenders": {
            name: {
                "median": statistics.median(found),
                "min": min(found),
                "max": max(found),
                "ratio": statistics.median(a / b for a, b in zip(found, base, strict=True)),
            }
            for name, found in times.items()
        },
    }


def table(result: dict) -> str:
    lines = [
        f"{result['job']}; {result['threads']} thread(s)",
        f"{'':18}{'median':>9}{'min':>9}{'max':>9}   of torch.nn",
    ]
    for name, row in result["contenders"].items():
        lines.append(f"{name:18}{row['median']:9.1f}{row['min']:9.1f}{row['max']:9.1f}{row['ratio']:13.2f}")
    return "\n".join(lines)


if __name__ == "__main__":
    main()

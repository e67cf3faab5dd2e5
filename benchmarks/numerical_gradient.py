"""The numerical gradient of TwoLayerNet 784-50-10 at batch 100 in float64, beside the tutorials' loop, interleaved.

The loop moves one entry after the other and takes two whole forward passes for each. It is timed on every k-th entry
(``--every``) and scaled; 1 times all 39,760 of them. Digits are MNIST's, dense data are drawn from N(0, 1).

    python benchmarks/numerical_gradient.py --threads 1 --out benchmarks/results/numerical_gradient.json
"""

from __future__ import annotations

import argparse
import json
import statistics
import time
from pathlib import Path

from machine import described, limit_threads


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--threads", type=int, default=1, help="cores to run on (default 1)")
    parser.add_argument("--rounds", type=int, default=9, help="turns of each contender (default 9)")
    parser.add_argument("--every", type=int, default=20, help="the loop is timed on every k-th entry (default 20)")
    parser.add_argument("--backend", default="numpy", help="xpnet's backend (default numpy)")
    parser.add_argument("--device", help="its device, and the loop's")
    parser.add_argument("--out", type=Path, help="write the result as JSON here")
    args = parser.parse_args()
    limit_threads(args.threads)
    import numpy as np

    import xpnet
    from xpnet.datasets import mnist

    (digits, labels), _ = mnist()
    backend = xpnet.get_backend(args.backend, args.device)
    net = xpnet.TwoLayerNet(784, 50, 10, seed=0, dtype="float64", backend=backend)
    t = backend.asarray(labels[:100])
    inputs = {"digits": digits[:100], "dense": np.random.default_rng(0).normal(size=(100, 784))}
    result = {"job": "numerical gradient, TwoLayerNet 784-50-10, batch 100, float64; seconds", "rounds": args.rounds}
    result |= {"loop timed on every": args.every, **described(args.threads, args.device)}
    for name, x in inputs.items():
        result[name] = compare(net, backend.asarray(x, "float64"), t, args.rounds, args.every)
        print(name, json.dumps(result[name], indent=1))
    result["batched black box"] = batched(net, backend.asarray(digits[:100], "float64"), t, args.rounds)
    print("batched black box", json.dumps(result["batched black box"], indent=1))
    result["directional, 10 million parameters"] = directional(backend, args.rounds)
    print("directional", json.dumps(result["directional, 10 million parameters"], indent=1))
    if args.out:
        args.out.write_text(json.dumps(result, indent=1) + "\n")
        print(f"wrote {args.out}")


def compare(net, x, t, rounds: int, every: int) -> dict:
    """Seconds of the loop and of xpnet, the ratio of each round, and how far both are from backpropagation."""
    from xpnet import check_gradient

    loop(net, x, t, every * 50)
    net.numerical_gradient(x, t)  # warm up
    times = {"the tutorials' loop": [], "xpnet": []}
    for _ in range(rounds):
        begin = time.perf_counter()
        found = loop(net, x, t, every)
        times["the tutorials' loop"].append((time.perf_counter() - begin) * every)
        begin = time.perf_counter()
        ours = net.numerical_gradient(x, t)
        net.backend.synchronize()
        times["xpnet"].append(time.perf_counter() - begin)
    report = check_gradient(net, x, t)
    assert report.passed, str(report)
    for name, values in found.items():
        largest = float(net.backend.xp.max(net.backend.xp.abs(ours[name])))
        flat = net.backend.to_numpy(ours[name]).reshape(-1)[::every]
        off = sorted(abs(values - flat) / largest)
        assert off[(len(off) - 1) // 2] < 1e-6, (name, off[-5:])  # most: the loop's step crosses some kinks
    return summary(times, "the tutorials' loop") | {
        "error of the largest entry": {r.name: r.relative for r in report.rows}
    }


def loop(net, x, t, every: int) -> dict:
    """What the tutorials do, for every k-th entry of each parameter, in place where arrays allow it."""
    import numpy as np

    found, h, params = {}, 1e-4, net.params
    for name, p in params.items():
        grads = []
        for i in list(np.ndindex(tuple(p.shape)))[::every]:
            value = float(p[i])
            moved = []
            for v in (value + h, value - h):
                params[name] = net.backend.put(params[name], i, v)
                moved.append(float(net.loss_layer.forward(net.forward(params, x), t)[0]))
            params[name] = net.backend.put(params[name], i, value)
            grads.append((moved[0] - moved[1]) / (2 * h))
        found[name] = np.asarray(grads)
    return found


def batched(net, x, t, rounds: int) -> dict:
    """``numerical_gradient`` of a black box, W2 of the network, one by one and in stacks of 50."""
    from xpnet import numerical_gradient
    from xpnet.functions import one_hot

    xp = net.backend.xp
    first = {"W": net.params["W1"], "b": net.params["b1"]}
    hidden = net.layers["Relu1"].predict({}, net.layers["Affine1"].predict(first, x))
    targets = one_hot(t, xp.zeros((x.shape[0], 10), dtype=x.dtype, device=net.backend.device))

    def loss(W):  # (50, 10), or a stack of them
        scores = xp.matmul(hidden, W) + net.params["b2"]
        return xp.mean(net.loss_layer.per_sample(scores, xp.broadcast_to(targets, scores.shape)), axis=-1)

    contenders = {"one by one": None, "batch=50": 50}
    times: dict[str, list[float]] = {name: [] for name in contenders}
    for _ in range(rounds):
        for name, batch in contenders.items():
            begin = time.perf_counter()
            numerical_gradient(loss, net.params["W2"], batch=batch)
            net.backend.synchronize()
            times[name].append(time.perf_counter() - begin)
    return summary(times, "one by one")


def directional(backend, rounds: int) -> dict:
    import numpy as np

    import xpnet

    net = xpnet.MultiLayerNet(784, [3000, 2500], 10, seed=0, backend=backend)
    rng = np.random.default_rng(0)
    x, t = backend.asarray(rng.normal(size=(10, 784)), "float32"), backend.asarray(rng.integers(0, 10, 10))
    times = []
    for _ in range(rounds):
        begin = time.perf_counter()
        report = xpnet.check_gradient(net, x, t, mode="directional")
        times.append(time.perf_counter() - begin)
        assert report.passed, str(report)
    count = sum(int(np.prod(tuple(p.shape))) for p in net.params.values())
    return {"parameters": count, "batch": 10} | summary({"check_gradient": times}, "check_gradient")


def summary(times: dict[str, list[float]], base: str) -> dict:
    return {
        name: {
            "median": statistics.median(found),
            "min": min(found),
            "max": max(found),
            "times faster": statistics.median(b / a for a, b in zip(found, times[base], strict=True)),
        }
        for name, found in times.items()
    }


if __name__ == "__main__":
    main()

"""Recording TwoLayerNet 784-50-10 at batch 100 and going back through it, beside the backward written by hand.

The loss and all gradients on MNIST digits, by ``net.value_and_grad``, by ``xpnet.graph.value_and_grad``, and where they
are installed by autograd (HIPS), which records NumPy too, and torch.autograd; interleaved, in float32 and float64.

    python benchmarks/graph.py --threads 1 --out benchmarks/results/graph_cpu_1.json
"""

from __future__ import annotations

import argparse
import importlib.util
import json
import statistics
import time
from pathlib import Path

from machine import described, limit_threads

HAND, GRAPH = "by hand", "xpnet.graph"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--threads", type=int, default=1, help="cores to run on (default 1)")
    parser.add_argument("--rounds", type=int, default=2000, help="turns of each contender (default 2000)")
    parser.add_argument("--backend", default="numpy", help="xpnet's backend (default numpy)")
    parser.add_argument("--device", help="its device")
    parser.add_argument("--out", type=Path, help="write the result as JSON here")
    args = parser.parse_args()
    limit_threads(args.threads)
    import xpnet

    backend = xpnet.get_backend(args.backend, args.device)
    result = {"job": "loss and gradients, TwoLayerNet 784-50-10, batch 100; microseconds", "rounds": args.rounds}
    result |= {"backend": backend.name, **described(args.threads, args.device)}
    for dtype in ("float32", "float64"):
        result[dtype] = compare(backend, dtype, args.rounds)
        print(dtype, json.dumps(result[dtype], indent=1))
    result["chain of 100,000 operations"] = chain(backend, 100_000)
    print("chain", json.dumps(result["chain of 100,000 operations"]))
    if args.out:
        args.out.write_text(json.dumps(result, indent=1) + "\n")
        print(f"wrote {args.out}")


def compare(backend, dtype: str, rounds: int) -> dict:
    import numpy as np

    import xpnet
    from xpnet.datasets import mnist
    from xpnet.graph import value_and_grad

    (digits, labels), _ = mnist()
    net = xpnet.TwoLayerNet(784, 50, 10, seed=0, dtype=dtype, backend=backend)
    x, t = backend.asarray(digits[:100], dtype), backend.asarray(labels[:100])

    def loss(params, x, t):
        return net.loss_layer.forward(net.forward(params, x), t)[0]

    by_graph = value_and_grad(loss)
    contenders = {
        HAND: lambda: net.value_and_grad(net.params, x, t),
        "the forward alone": lambda: (net.loss_layer.forward(net.forward(net.params, x), t)[0], None),
        GRAPH: lambda: by_graph(net.params, x, t),
    }
    if backend.name == "numpy":
        host = {name: np.asarray(p) for name, p in net.params.items()}
        contenders |= peers(host, np.asarray(x), labels[:100])
    expected, grads = contenders[HAND]()
    for name, contender in contenders.items():
        value, found = contender()
        assert abs(float(value) - float(expected)) < 1e-5, name
        for key, g in (found or {}).items():
            assert abs(np.asarray(g) - backend.to_numpy(grads[key])).max() < 1e-6, (name, key)
    times: dict[str, list[float]] = {name: [] for name in contenders}
    for _ in range(rounds):
        for name, contender in contenders.items():
            begin = time.perf_counter()
            contender()
            backend.synchronize()
            times[name].append((time.perf_counter() - begin) * 1e6)
    return {
        name: {
            "median": statistics.median(found),
            "of the time by hand": statistics.median(a / b for a, b in zip(found, times[HAND], strict=True)),
        }
        for name, found in times.items()
    }


def peers(params: dict, x, labels) -> dict:
    """The same loss as users of these libraries write it."""
    found = {}
    if importlib.util.find_spec("autograd"):
        import autograd
        import autograd.numpy as anp

        one_hot = anp.eye(10, dtype=x.dtype)[labels]

        def loss(p):
            z = anp.maximum(x @ p["W1"] + p["b1"], 0) @ p["W2"] + p["b2"]
            z = z - anp.max(z, axis=1, keepdims=True)
            return -anp.sum(one_hot * (z - anp.log(anp.sum(anp.exp(z), axis=1, keepdims=True)))) / len(x)

        both = autograd.value_and_grad(loss)
        found["autograd"] = lambda: both(params)
    if importlib.util.find_spec("torch"):
        import torch

        tensors = {name: torch.tensor(p, requires_grad=True) for name, p in params.items()}
        images, targets = torch.tensor(x), torch.tensor(labels).long()

        def torch_autograd():
            h = torch.relu(images @ tensors["W1"] + tensors["b1"])
            value = torch.nn.functional.cross_entropy(h @ tensors["W2"] + tensors["b2"], targets)
            return value.detach(), dict(zip(tensors, torch.autograd.grad(value, list(tensors.values())), strict=True))

        found["torch.autograd"] = torch_autograd
    return found


def chain(backend, length: int) -> dict:
    """Seconds to record so many operations on one number, to go back through them, and to drop them."""
    from xpnet.graph import variable

    x = variable(backend.asarray(1.0, "float32"))
    begin = time.perf_counter()
    y = x
    for _ in range(length):
        y = y * 1.00001
    recorded = time.perf_counter()
    y.backward()
    back = time.perf_counter()
    assert abs(float(x.grad) - 1.00001**length) < 1e-2
    del y
    return {"record": recorded - begin, "backward": back - recorded, "drop": time.perf_counter() - back}


if __name__ == "__main__":
    main()

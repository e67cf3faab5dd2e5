"""Ten functions of everyday work and their gradients, by xpnet.graph, autograd (HIPS) and torch.autograd.

Written once, with NumPy's functions or those of the other library by the same names; float64, one thread, interleaved,
in changing order. Gradients are compared before times are.

    python benchmarks/graph_functions.py --out benchmarks/results/graph_functions_cpu_1.json
"""

from __future__ import annotations

import argparse
import importlib.util
import json
import math
import random
import statistics
import time
from pathlib import Path

from machine import described, limit_threads


def rosenbrock(m, c, x):
    return m.sum(100.0 * (x[1:] - x[:-1] ** 2) ** 2 + (1.0 - x[:-1]) ** 2)


def logistic(m, c, w):
    margins = c["t"] * (c["X"] @ w)
    return m.mean(m.log1p(m.exp(-margins))) + 0.01 * m.sum(w * w)


def mixture(m, c, p):
    weights = p["logits"] - m.log(m.sum(m.exp(p["logits"])))
    apart = (c["data"][:, None, :] - p["means"]) * m.exp(-p["scales"])
    each = weights - m.sum(p["scales"], axis=1) - 0.5 * m.sum(apart * apart, axis=2)
    return -m.sum(m.log(m.sum(m.exp(each), axis=1)))


def recurrent(m, c, p):
    h, total = c["h"], 0.0
    for k in range(50):
        h = m.tanh(h @ p["W"] + c["x"][k] @ p["U"] + p["b"])
        total = total + m.mean((h @ p["V"] - c["y"][k]) ** 2)
    return total


def black_scholes(m, c, p):
    root = p["volatility"] * m.sqrt(c["years"])
    d1 = (m.log(p["price"] / c["strike"]) + (p["rate"] + 0.5 * p["volatility"] ** 2) * c["years"]) / root
    d2 = d1 - root

    def below(x):
        return 0.5 * (1.0 + c["erf"](x / math.sqrt(2)))

    return m.sum(p["price"] * below(d1) - c["strike"] * m.exp(-p["rate"] * c["years"]) * below(d2))


def bodies(m, c, x):
    apart = x[:, None, :] - x[None, :, :]
    distance = m.sqrt(m.sum(apart * apart, axis=2) + c["eye"])
    return -0.5 * m.sum(c["masses"] * (1.0 - c["eye"]) / distance)


def spline(m, c, y):
    curve = m.linalg.solve(c["A"], c["B"] @ y)
    i, u = c["place"], c["part"]
    v = 1.0 - u
    found = v * y[i] + u * y[i + 1] + ((v**3 - v) * curve[i] + (u**3 - u) * curve[i + 1]) * c["h"] ** 2 / 6.0
    return m.sum((found - c["wanted"]) ** 2)


def kalman(m, c, p):
    x, P, total = c["x"], c["P"], 0.0
    Q, R = c["I4"] * m.exp(p["q"]), c["I2"] * m.exp(p["r"])
    for z in c["z"]:
        x, P = p["F"] @ x, p["F"] @ P @ p["F"].T + Q
        S, error = c["H"] @ P @ c["H"].T + R, z - c["H"] @ x
        gain = m.linalg.solve(S, c["H"] @ P).T
        total = total + 0.5 * (m.linalg.slogdet(S)[1] + error @ m.linalg.solve(S, error))
        x, P = x + gain @ error, P - gain @ (c["H"] @ P)
    return total


def attention(m, c, p):
    scores = m.einsum("bqhd,bkhd->bhqk", p["q"], p["k"]) / math.sqrt(8)
    weights = m.exp(scores)
    weights = weights / m.sum(weights, axis=-1, keepdims=True)
    return m.sum(m.einsum("bhqk,bkhd->bqhd", weights, p["v"]) ** 2)


def filtered(m, c, p):
    spectrum = m.fft.rfft(p["signal"]) * m.exp(-p["decay"] * c["frequency"])
    return m.sum((m.fft.irfft(spectrum) - c["wanted"]) ** 2)


def problems(np):
    """Each function with its constants and its argument."""
    rng = np.random.default_rng(0)
    normal, uniform = rng.normal, rng.uniform
    n = 20
    h, at = 1.0 / (n - 1), np.sort(uniform(0, 0.999, 200))
    A = np.diag(np.full(n, 4.0)) + np.diag(np.ones(n - 1), 1) + np.diag(np.ones(n - 1), -1)
    B = (np.diag(np.full(n, -2.0)) + np.diag(np.ones(n - 1), 1) + np.diag(np.ones(n - 1), -1)) * 6 / h**2
    A[0], A[-1], B[0], B[-1] = np.eye(n)[0], np.eye(n)[-1], 0, 0
    place = np.floor(at / h).astype("int64")
    return {
        "Rosenbrock, 1,000": (rosenbrock, {}, normal(size=1000)),
        "logistic regression": (
            logistic, {"X": normal(size=(500, 20)), "t": np.sign(normal(size=500))}, normal(size=20)
        ),
        "Gaussian mixture": (
            mixture,
            {"data": normal(size=(200, 2))},
            {"logits": normal(size=5), "means": normal(size=(5, 2)), "scales": 0.1 * normal(size=(5, 2))},
        ),
        "RNN, 50 steps": (
            recurrent,
            {"h": np.zeros((8, 20)), "x": normal(size=(50, 8, 10)), "y": normal(size=(50, 8, 3))},
            {"W": 0.2 * normal(size=(20, 20)), "U": 0.2 * normal(size=(10, 20)), "b": np.zeros(20),
             "V": normal(size=(20, 3))},
        ),
        "Black-Scholes": (
            black_scholes,
            {"years": uniform(0.1, 2, 1000), "strike": uniform(80, 120, 1000)},
            {"price": uniform(80, 120, 1000), "volatility": uniform(0.1, 0.5, 1000), "rate": np.asarray(0.03)},
        ),
        "n-body energy": (bodies, {"eye": np.eye(40), "masses": uniform(1, 2, (40, 40))}, normal(size=(40, 3))),
        "spline": (
            spline,
            {"A": A, "B": B, "place": place, "part": at / h - place, "h": h, "wanted": np.sin(6 * at)},
            normal(size=n),
        ),
        "Kalman filter": (
            kalman,
            {"x": np.zeros(4), "P": np.eye(4), "H": np.eye(2, 4), "I4": np.eye(4), "I2": np.eye(2),
             "z": normal(size=(50, 2))},
            {"F": np.eye(4) + 0.1 * np.eye(4, k=2), "q": np.asarray(-2.0), "r": np.asarray(-1.0)},
        ),
        "einsum attention": (attention, {}, {name: 0.3 * normal(size=(4, 32, 4, 8)) for name in "qkv"}),
        "FFT filter": (
            filtered,
            {"frequency": np.arange(513) / 513, "wanted": np.sin(np.arange(1024) / 20)},
            {"signal": normal(size=1024), "decay": np.asarray(3.0)},
        ),
    }  # fmt: skip


def mapped(f, tree):
    if isinstance(tree, dict):
        return {key: mapped(f, part) for key, part in tree.items()}
    return f(tree) if hasattr(tree, "shape") else tree


def contenders(f, constants, x):
    import numpy as np

    from xpnet.graph import special, value_and_grad

    ours = value_and_grad(lambda x: f(np, constants | {"erf": special.erf}, x))
    found = {"xpnet.graph": lambda: ours(x)}
    if importlib.util.find_spec("autograd"):
        import autograd
        import autograd.numpy as anp
        from autograd.scipy.special import erf

        theirs = autograd.value_and_grad(lambda x: f(anp, constants | {"erf": erf}, x))
        found["autograd"] = lambda: theirs(x)
    if importlib.util.find_spec("torch"):
        import torch

        fixed = mapped(torch.tensor, constants) | {"erf": torch.erf}
        moving = mapped(lambda a: torch.tensor(a, requires_grad=True), x)
        leaves = list(moving.values()) if isinstance(moving, dict) else [moving]

        def by_torch():
            y = f(torch, fixed, moving)
            grads = torch.autograd.grad(y, leaves)
            return y.detach(), dict(zip(moving, grads, strict=True)) if isinstance(moving, dict) else grads[0]

        found["torch.autograd"] = by_torch
    return found


def compare(name, f, constants, x, rounds):
    import numpy as np

    tried = contenders(f, constants, x)
    first = None
    for who, call in tried.items():
        value, grads = call()
        host = [np.asarray(g) for g in (grads.values() if isinstance(grads, dict) else [grads])]
        first = first or (float(value), host)
        assert abs(float(value) - first[0]) <= 1e-10 * abs(first[0]), (name, who)
        for g, wanted in zip(host, first[1], strict=True):
            assert abs(g - wanted).max() <= 1e-9 * abs(wanted).max(), (name, who)
    times: dict[str, list[float]] = {who: [] for who in tried}
    turns, order = list(tried.items()), random.Random(0)
    for _ in range(rounds):
        order.shuffle(turns)  # whoever comes behind PyTorch finds the processor's caches full of it
        for who, call in turns:
            begin = time.perf_counter()
            call()
            times[who].append((time.perf_counter() - begin) * 1e6)
    return {who: round(statistics.median(found), 1) for who, found in times.items()}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=200, help="turns of each contender (default 200)")
    parser.add_argument("--out", type=Path, help="write the result as JSON here")
    args = parser.parse_args()
    limit_threads(1)
    import numpy as np

    result = {"job": "value and gradient of ten functions, float64; microseconds", "rounds": args.rounds}
    result |= described(1, None)
    for name, (f, constants, x) in problems(np).items():
        result[name] = compare(name, f, constants, x, args.rounds)
        print(f"{name:22}", "  ".join(f"{who} {t:9.1f}" for who, t in result[name].items()))
    if args.out:
        args.out.write_text(json.dumps(result, indent=1) + "\n")
        print(f"wrote {args.out}")


if __name__ == "__main__":
    main()

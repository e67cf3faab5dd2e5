"""The optimizers once more, as their papers print them, in NumPy with a dict for a state; and cases to compare on."""

from __future__ import annotations

from collections import defaultdict

import numpy as np

from xpnet.optimizers import OPTIMIZERS
from xpnet.schedules import Exponential, Warmup

SHAPES = {"W": (3, 2), "b": (2,)}
STEPS = 50
#: Each optimizer at its defaults, and what changes the rule.
CASES = [
    *((name, {}) for name in OPTIMIZERS),
    ("momentum", {"momentum": 0.5}),
    ("rmsprop", {"centered": True, "decay_rate": 0.9}),
    ("adam", {"folded": True, "eps": 1e-3, "beta1": 0.0}),
    ("radam", {"beta2": 0.9}),
    ("radam", {"beta2": 0.5}),
    ("ftrl", {"l1": 0.3, "l2": 0.2, "beta": 0.5, "learning_rate_power": -0.7, "initial_accumulator_value": 0.5}),
]
OPTIONS = {
    "plain": {},
    "coupled": {"weight_decay": 0.1, "decoupled": False},
    "decoupled": {"weight_decay": 0.1, "decoupled": True},
    "weights": {"weight_decay": 0.1, "decoupled": False, "decay_biases": False},
    "clip_value": {"clip_value": 0.7},
    "clip_norm": {"clip_norm": 1.5},
    "clips": {"clip_value": 0.7, "clip_norm": 1.2, "weight_decay": 0.1},
    "schedule": {"lr": Warmup(5, Exponential(0.05, factor=0.9, per=3)), "weight_decay": 0.1, "decoupled": True},
}
RATES = [0.05 * ((t + 1) / 5 if t < 5 else 0.9 ** ((t - 5) / 3)) for t in range(STEPS)]


def sgd(o, w, g, s, t, lr):
    return w - lr * g


def momentum(o, w, g, s, t, lr):
    s["v"] = o.momentum * s["v"] + g
    return w - lr * s["v"]


def nesterov(o, w, g, s, t, lr):
    s["v"] = o.momentum * s["v"] + g
    return w - lr * (g + o.momentum * s["v"])


def adagrad(o, w, g, s, t, lr):
    s["h"] = s["h"] + g**2
    return w - lr * g / (np.sqrt(s["h"]) + o.eps)


def adadelta(o, w, g, s, t, lr):
    s["Eg"] = o.decay_rate * s["Eg"] + (1 - o.decay_rate) * g**2
    delta = np.sqrt(s["Ed"] + o.eps) / np.sqrt(s["Eg"] + o.eps) * g
    s["Ed"] = o.decay_rate * s["Ed"] + (1 - o.decay_rate) * delta**2
    return w - lr * delta


def rmsprop(o, w, g, s, t, lr):
    s["n"] = o.decay_rate * s["n"] + (1 - o.decay_rate) * g**2
    s["g"] = o.decay_rate * s["g"] + (1 - o.decay_rate) * g
    return w - lr * g / (np.sqrt(s["n"] - s["g"] ** 2 if o.centered else s["n"]) + o.eps)


def adam(o, w, g, s, t, lr):
    s["m"] = o.beta1 * s["m"] + (1 - o.beta1) * g
    s["v"] = o.beta2 * s["v"] + (1 - o.beta2) * g**2
    first, second = 1 - o.beta1**t, 1 - o.beta2**t
    if o.folded:
        return w - lr * np.sqrt(second) / first * s["m"] / (np.sqrt(s["v"]) + o.eps)
    return w - lr * (s["m"] / first) / (np.sqrt(s["v"] / second) + o.eps)


def adamax(o, w, g, s, t, lr):
    s["m"] = o.beta1 * s["m"] + (1 - o.beta1) * g
    s["u"] = np.maximum(o.beta2 * s["u"], np.abs(g) + o.eps)
    return w - lr / (1 - o.beta1**t) * s["m"] / s["u"]


def nadam(o, w, g, s, t, lr):
    mu = [o.beta1 * (1 - 0.5 * 0.96 ** (i * o.momentum_decay)) for i in range(1, t + 2)]
    s["m"] = o.beta1 * s["m"] + (1 - o.beta1) * g
    s["v"] = o.beta2 * s["v"] + (1 - o.beta2) * g**2
    m = mu[t] * s["m"] / (1 - np.prod(mu)) + (1 - mu[t - 1]) * g / (1 - np.prod(mu[:t]))
    return w - lr * m / (np.sqrt(s["v"] / (1 - o.beta2**t)) + o.eps)


def radam(o, w, g, s, t, lr):
    s["m"] = o.beta1 * s["m"] + (1 - o.beta1) * g
    s["v"] = o.beta2 * s["v"] + (1 - o.beta2) * g**2
    m = s["m"] / (1 - o.beta1**t)
    limit = 2 / (1 - o.beta2) - 1
    length = limit - 2 * t * o.beta2**t / (1 - o.beta2**t)
    if length <= 5:
        return w - lr * m
    r = np.sqrt((length - 4) * (length - 2) * limit / ((limit - 4) * (limit - 2) * length))
    return w - lr * r * m * np.sqrt(1 - o.beta2**t) / (np.sqrt(s["v"]) + o.eps)


def lion(o, w, g, s, t, lr):
    step = np.sign(o.beta1 * s["m"] + (1 - o.beta1) * g)
    s["m"] = o.beta2 * s["m"] + (1 - o.beta2) * g
    return w - lr * step


def ftrl(o, w, g, s, t, lr):
    """Entry by entry, as the paper's algorithm 1."""
    n, z = (np.asarray(s[key]) + np.zeros_like(g) for key in "nz")
    n = n if t > 1 else n + o.initial_accumulator_value
    power, new = -o.learning_rate_power, np.zeros_like(w)
    for i in np.ndindex(g.shape):
        sigma = ((n[i] + g[i] ** 2) ** power - n[i] ** power) / lr
        z[i] += g[i] - sigma * w[i]
        n[i] += g[i] ** 2
        if abs(z[i]) > o.l1:
            new[i] = -(z[i] - np.sign(z[i]) * o.l1) / ((o.beta + n[i] ** power) / lr + 2 * o.l2)
    s["n"], s["z"] = n, z
    return new


RULES = {
    "sgd": sgd,
    "momentum": momentum,
    "nesterov": nesterov,
    "adagrad": adagrad,
    "adadelta": adadelta,
    "rmsprop": rmsprop,
    "adam": adam,
    "adamw": adam,
    "adamax": adamax,
    "nadam": nadam,
    "radam": radam,
    "lion": lion,
    "ftrl": ftrl,
}


def run(rule, optimizer, params, gradients, rates):
    """The parameters after these gradients, with the clipping and the decay that the optimizer was given."""
    o, params, slots = optimizer, dict(params), {name: defaultdict(float) for name in params}
    for t, (grads, lr) in enumerate(zip(gradients, rates, strict=True), start=1):
        if o.clip_value is not None:
            grads = {name: np.minimum(np.maximum(g, -o.clip_value), o.clip_value) for name, g in grads.items()}
        if o.clip_norm is not None:
            norm = np.sqrt(sum(float(x) ** 2 for g in grads.values() for x in g.flat))
            grads = {name: g * min(1.0, o.clip_norm / (norm + 1e-6)) for name, g in grads.items()}
        for name, g in grads.items():
            w = params[name]
            decay = o.weight_decay if o.decay_biases or w.ndim > 1 else 0.0
            w, g = (w - lr * decay * w, g) if o.decoupled else (w, g + decay * w)
            params[name] = rule(o, w, g, slots[name], t, lr)
    return params


def ids(value):
    return value if isinstance(value, str) else "-".join(f"{k}={v}" for k, v in value.items()) or "defaults"


def problem(rng, steps=STEPS):
    """Parameters in float64, and a gradient of them for each step."""
    params = {name: rng.normal(size=shape) for name, shape in SHAPES.items()}
    return params, [{name: rng.normal(size=shape) for name, shape in SHAPES.items()} for _ in range(steps)]


def rates_of(optimizer, option):
    return RATES if option == "schedule" else [optimizer.lr] * STEPS

"""JAX as its documentation writes a loop: ``jit`` of ``lax.scan`` over the minibatches, with the state donated."""

from __future__ import annotations

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
from worker import Worker


def scores_of(layers, params, x):
    weights = iter(params)
    for kind, *numbers in layers:
        if kind == "conv":
            w, b = next(weights)
            x = jax.lax.conv_general_dilated(x, w, (1, 1), [(numbers[-1], numbers[-1])] * 2) + b[:, None, None]
        elif kind == "affine":
            w, b = next(weights)
            x = x.reshape(x.shape[0], -1) @ w + b
        elif kind == "pool":
            x = jax.lax.reduce_window(x, -jnp.inf, jax.lax.max, (1, 1, 2, 2), (1, 1, 2, 2), "VALID")
        else:
            x = jax.nn.relu(x)
    return x


def loss_of(layers, params, x, t):
    log_y = jax.nn.log_softmax(scores_of(layers, params, x))
    return -jnp.mean(jnp.take_along_axis(log_y, t[:, None], axis=1))


def sgd(lr):
    def update(params, grads, memory):
        return jax.tree.map(lambda p, g: p - lr * g, params, grads), memory

    return update


def adam(lr):
    def update(params, grads, memory):
        m, v, count = memory
        count += 1
        m = jax.tree.map(lambda m, g: 0.9 * m + 0.1 * g, m, grads)
        v = jax.tree.map(lambda v, g: 0.999 * v + 0.001 * g * g, v, grads)
        # 1 - 0.999 ** count in float32 is wrong by 6e-5 at first
        first, second = (-jnp.expm1(count * np.log(beta)) for beta in (0.9, 0.999))
        params = jax.tree.map(lambda p, m, v: p - lr * (m / first) / (jnp.sqrt(v / second) + 1e-8), params, m, v)
        return params, (m, v, count)

    return update


def main() -> None:
    worker = Worker("jax", "numpy")
    job = worker.job
    jax.config.update("jax_default_device", jax.devices("cpu" if job.device == "cpu" else "gpu")[0])
    x, t = jnp.asarray(job.x), jnp.asarray(job.labels)
    params = [(jnp.asarray(w), jnp.asarray(b)) for w, b in job.weights]
    zeros = lambda: jax.tree.map(jnp.zeros_like, params)  # noqa: E731
    state = (params, (zeros(), zeros(), jnp.zeros(())) if job.adam else ())
    layers = job.layers or [("affine",), *[("relu",), ("affine",)] * (len(params) - 1)]
    update = (adam if job.adam else sgd)(job.lr)

    @partial(jax.jit, donate_argnums=0)
    def run(state, x, t, rows):
        def step(state, row):
            params, memory = state
            loss, grads = jax.value_and_grad(partial(loss_of, layers))(params, x[row], t[row])
            return update(params, grads, memory), loss

        return jax.lax.scan(step, state, rows)

    def train(rows):
        nonlocal state
        state, losses = run(state, x, t, rows.astype(np.int32))
        jax.block_until_ready(state)
        return np.asarray(losses).tolist()

    worker.serve(train)


if __name__ == "__main__":
    main()

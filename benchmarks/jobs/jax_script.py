"""``xpnet train`` as a script of JAX: ``jit`` of ``lax.scan`` over an epoch, and of the evaluation of all data."""

from __future__ import annotations

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
from digits import HIDDEN, LR, SEED, epochs, mnist, save, tell

(x, t), (x_test, t_test) = [(jnp.asarray(x), jnp.asarray(t, jnp.int32)) for x, t in mnist()]
rng = np.random.default_rng(SEED)
sizes = {"W1": (784, HIDDEN), "b1": (HIDDEN,), "W2": (HIDDEN, 10), "b2": (10,)}
params = {
    name: jnp.asarray(0.01 * rng.normal(size=s) if name[0] == "W" else np.zeros(s), jnp.float32)
    for name, s in sizes.items()
}


def scores_of(params, x):
    return jax.nn.relu(x @ params["W1"] + params["b1"]) @ params["W2"] + params["b2"]


def loss_of(params, x, t):
    return -jnp.mean(jnp.take_along_axis(jax.nn.log_softmax(scores_of(params, x)), t[:, None], axis=1))


@partial(jax.jit, donate_argnums=0)
def run(params, x, t, rows):
    def step(params, row):
        loss, grads = jax.value_and_grad(loss_of)(params, x[row], t[row])
        return jax.tree.map(lambda p, g: p - LR * g, params, grads), loss

    return jax.lax.scan(step, params, rows)


@jax.jit
def evaluated(params, x, t):
    return loss_of(params, x, t), jnp.mean(scores_of(params, x).argmax(1) == t)


def evaluate():
    return [
        float(value) for images, labels in ((x, t), (x_test, t_test)) for value in evaluated(params, images, labels)
    ]


losses: list[float] = []
tell(0, *evaluate())
for rows in epochs(len(t)):
    params, seen = run(params, x, t, rows.astype(np.int32))
    losses += np.asarray(seen).tolist()
    tell(len(losses), *evaluate())
save(losses, **{name: np.asarray(p) for name, p in params.items()})

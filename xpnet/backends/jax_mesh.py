"""Several devices of JAX as one: arrays are whole on each of them, and the rows of a minibatch are shared out.

A step is written for all rows, and stays so. It is told where the rows are, and XLA does the rest: each device takes
its samples from the data that it has, computes what depends on them, and what depends on all of a minibatch (gradients,
the loss, the statistics of batch normalization) is summed over the devices. As parameters are whole everywhere, that is
one reduction a step, one more where samples have weights, and three for each batch normalization.
"""

from __future__ import annotations

from importlib import import_module
from typing import Any

import numpy as np

from xpnet._typing import Array, Params, State
from xpnet.backends.base import Data, Step


def on_all(devices: list[Any]) -> Any:
    """Several devices as the one device of a backend."""
    return everywhere(import_module("jax").sharding.Mesh(np.asarray(devices), ("rows",)))


def everywhere(mesh: Any) -> Any:
    """Whole on each device of the mesh."""
    sharding = import_module("jax").sharding
    return sharding.NamedSharding(mesh, sharding.PartitionSpec())


def devices_of(device: Any) -> list[Any]:
    """Those that a device of a backend stands for, in the order of their rows."""
    return list(device.mesh.devices.flat) if hasattr(device, "mesh") else [device]


def row_by_row(device: Any) -> Any:
    """Arrays (N, ...) of which each device has as many rows as the others."""
    sharding = import_module("jax").sharding
    return sharding.NamedSharding(device.mesh, sharding.PartitionSpec(device.mesh.axis_names))


def shared_out(arrays: Any, device: Any) -> Any:
    """Arrays (N, ...) of which each device has its share, in what is compiled, where XLA pads what does not divide."""
    jax, rows = import_module("jax"), row_by_row(device)

    def shared(x: Array) -> Array:
        return jax.lax.with_sharding_constraint(x, rows) if x.ndim and isinstance(x, jax.core.Tracer) else x

    return jax.tree.map(shared, arrays)


def with_shared_rows(step: Step, device: Any) -> Step:
    """The step, in which each device has its share of the rows and draws."""

    def stepped(state: State, data: Data, rows: Array, draws: Params) -> tuple[State, Array]:
        return step(state, data, *shared_out((rows, draws), device))

    return stepped

"""Keys of every kind, in any mix, as NumPy has them; gradients by adding up where entries came from."""

from __future__ import annotations

import numpy as np
import pytest

from xpnet.graph import constant, grad, variable

SHAPE = (4, 3, 5)


def random_key(rng, dtype="int64"):
    """A key for an array of that shape: slices, integers, new axes, dots, arrays, masks and booleans."""
    spread = tuple(rng.integers(1, 4, rng.integers(1, 3)))
    parts, axis, arrays = [], 0, 0
    while axis < 3:
        kind, n = rng.choice(["slice", "integer", "array", "mask", "none", "bool", "stop"]), SHAPE[axis]
        if kind == "stop":
            break
        if kind == "none":
            parts.append(None)
            continue
        if kind == "bool" and not arrays:
            parts.append(bool(rng.random() < 0.9))
            continue
        if kind == "mask" and not arrays:
            width = int(rng.integers(1, 4 - axis))
            parts.append(rng.random(SHAPE[axis : axis + width]) < 0.5)
            axis, arrays = axis + width - 1, 2
        elif kind == "array" and arrays < 2:
            shape = tuple(1 if rng.random() < 0.3 else m for m in spread[rng.integers(0, len(spread)) :])
            parts.append(rng.integers(0 if dtype.startswith("u") else -n, n, shape).astype(dtype))
            arrays = 1
        elif kind == "integer":
            parts.append(int(rng.integers(-n, n)))
        else:
            step = int(rng.integers(1, 3))
            parts.append(slice(int(rng.integers(0, n)), None if rng.random() < 0.5 else n - 1, step))
        axis += 1
    if rng.random() < 0.3 and axis < 3:
        parts.insert(len(parts), ...)
    return tuple(parts) if len(parts) != 1 or rng.random() < 0.5 else parts[0]


def moved(key, array):
    """The key with arrays of a backend."""
    if isinstance(key, tuple):
        return tuple(moved(part, array) for part in key)
    return array(key) if isinstance(key, np.ndarray) else key


@pytest.mark.parametrize("seed", range(60))
def test_random_keys(seed, training_backend, array):
    b = training_backend
    if b.compiles_shapes and seed >= 12:
        pytest.skip("each costs compilations")
    rng = np.random.default_rng(seed)
    host, key = rng.normal(size=SHAPE), random_key(rng, str(rng.choice(["int64", "uint8", "int16"])))
    parts = key if isinstance(key, tuple) else (key,)
    if b.name == "strict" and not any(part is ... for part in parts):
        key = (*parts, ...)  # it wants every axis spoken of
    v = variable(array(host))
    try:
        wanted = host[key]
    except IndexError:
        with pytest.raises((IndexError, ValueError, RuntimeError, TypeError)):
            v[moved(key, array)]
        return
    weights = rng.normal(size=wanted.shape)
    places = np.arange(host.size).reshape(SHAPE)[key]
    y = v[moved(key, array)]
    np.testing.assert_array_equal(b.to_numpy(y.value), wanted)
    y.backward(array(weights))
    slopes = np.zeros(host.size)
    np.add.at(slopes, places.reshape(-1), weights.reshape(-1))
    np.testing.assert_allclose(b.to_numpy(v.grad).reshape(-1), slopes, rtol=1e-12, atol=1e-14)


def test_lists_and_constants(array, backend):
    v = variable(array(np.arange(12.0).reshape(4, 3)))
    assert v[[0, 2]].shape == (2, 3)
    assert v[[0, 2], [1, 1]].shape == (2,)
    assert v[constant(array([0, 2])), ...].shape == (2, 3)
    assert v[[]].shape == (0, 3)
    chosen = backend.to_numpy(v[v > 4.0].value)  # Dask knows how many there are when it has computed them
    assert chosen.tolist() == [5.0, 6.0, 7.0, 8.0, 9.0, 10.0, 11.0]
    assert v[True].shape == (1, 4, 3)
    assert v[None, False].shape == (1, 0, 4, 3)
    assert variable(array(1.0))[True].shape == (1,)


def test_rows_that_are_not_there(training_backend, array):
    v = variable(array(np.ones((4, 3))))
    for key in (
        (array([0, 4]), array([0, 0])),
        (slice(None), array([0, -4])),
        (array([[0, 1], [0, 4]]), 1),
        (array([0]), 3),
    ):
        with pytest.raises(IndexError, match="out of bounds"):
            v[key]


def test_a_mask_while_jax_looks_at_values():
    jax = pytest.importorskip("jax")
    x = jax.numpy.asarray([1.0, -2.0, 3.0])
    found = grad(lambda x: x.xp.sum(x[x > 0] ** 2))(x)
    np.testing.assert_array_equal(found, [2, 0, 6])

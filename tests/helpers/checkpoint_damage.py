"""Ways to damage a safetensors file, and to write one that lies: at random, and with a digest that fits the lie."""

from __future__ import annotations

import copy
import json
import struct

import numpy as np
from safetensors.numpy import load, save

from xpnet.serialization import tensors
from xpnet.serialization.network import ABOUT

#: What stands where something else was expected.
HOSTILE = [
    None, True, False, 0, -1, 1, 2, 5, 2**31, 2**53, 2**62, 2**63, 2**64, 10**12, -(10**12), 10**400, -(10**400),
    0.5, -1.5, 1e308, float("nan"), float("inf"), -float("inf"), "", "x", "\ud800", "\x00", "../../etc/passwd", "numpy",
    "é" * 300, "__import__('os').abort()", [], [[]], [0], [1, 2, 3], {}, {"kind": "ReLU"}, {"kind": "Affine"},
    {"kind": "object"}, {"kind": []}, {"kind": "Constant", "lr": 0.1}, {"kind": "SoftmaxWithLoss"}, {"": None},
    {"kind": "Affine", "n_in": 10**12, "n_out": 10**12}, {"kind": "LeakyReLU", "slope": {"kind": "ReLU"}},
]  # fmt: skip


def flipped(data, rng):
    """One to eight bits are others."""
    changed = bytearray(data)
    for place in rng.integers(0, len(data), rng.integers(1, 9)):
        changed[place] ^= 1 << int(rng.integers(8))
    return bytes(changed)


def truncated(data, rng):
    return data[: rng.integers(len(data))]


def grown(data, rng):
    """Bytes more, somewhere."""
    place = rng.integers(len(data) + 1)
    return data[:place] + rng.bytes(rng.integers(1, 64)) + data[place:]


def cut(data, rng):
    """Bytes fewer, somewhere."""
    place = rng.integers(len(data))
    return data[:place] + data[place + rng.integers(1, 64) :]


def overwritten(data, rng):
    place, length = rng.integers(len(data)), rng.integers(1, 64)
    return data[:place] + rng.bytes(min(length, len(data) - place)) + data[place + length :]


def relengthened(data, rng):
    """Another length of the header."""
    lengths = [0, 1, len(data), 2**27, 2**40, 2**62, 2**64 - 1, int(rng.integers(1, 5000))]
    return struct.pack("<Q", lengths[rng.integers(len(lengths))]) + data[8:]


def reheaded(data, rng):
    """Another digit, letter or sign in the header."""
    end = min(8 + int.from_bytes(data[:8], "little"), len(data))
    place = rng.integers(8, max(end, 9))
    return data[:place] + rng.choice(list(b'0123456789-,:[]{}"eFIU \x00')).astype("uint8").tobytes() + data[place + 1 :]


DAMAGES = (flipped, truncated, grown, cut, overwritten, relengthened, reheaded)


def damaged(data, rng):
    """One of the ways, or two of them."""
    for _ in range(rng.integers(1, 3)):
        data = DAMAGES[rng.integers(len(DAMAGES))](data or b"\0", rng)
    return data


def texts_of(data):
    length = struct.unpack("<Q", data[:8])[0]
    return json.loads(data[8 : 8 + length])["__metadata__"]


def digest_of(data):
    """What stands for all that is in a file, in whatever order."""
    return texts_of(data)[tensors.DIGEST]


def parts_of(data):
    """The arrays and the description in a file."""
    return load(data), json.loads(texts_of(data)[ABOUT])


def sealed(arrays, about):
    """A file with these arrays and this description, or text in its place, and a digest that agrees."""
    texts = {ABOUT: about if isinstance(about, str) else json.dumps(about)}
    return save(arrays, texts | {tensors.DIGEST: tensors._digest(arrays, texts)})


def places_in(tree, way=()):
    """The way to each value of a tree of dicts and lists."""
    yield way
    items = tree.items() if isinstance(tree, dict) else enumerate(tree) if isinstance(tree, list) else ()
    for key, value in items:
        yield from places_in(value, (*way, key))


def lying(arrays, about, rng):
    """One or two things in the description or the arrays are others; returns both."""
    arrays, about = dict(arrays), copy.deepcopy(about)
    for _ in range(rng.integers(1, 3)):
        if rng.random() < 0.25:
            _lie_in_arrays(arrays, rng)
        else:
            _lie_in_text(about, rng)
    return arrays, about


def _lie_in_text(about, rng):
    ways = [way for way in places_in(about) if way]
    *way, last = ways[rng.integers(len(ways))]
    inside = about
    for key in way:
        inside = inside[key]
    if rng.random() < 0.2:
        del inside[last]
    else:
        inside[last] = copy.deepcopy(HOSTILE[rng.integers(len(HOSTILE))])


def _lie_in_arrays(arrays, rng):
    name = list(arrays)[rng.integers(len(arrays))]
    a = arrays[name]
    lies = [
        lambda: a.astype(rng.choice(["float64", "int32", "uint8", "float16", "bool"])),
        lambda: a[..., None],
        lambda: np.concatenate([a.reshape(-1)] * 2),
        lambda: np.zeros((0, *a.shape), a.dtype),
        lambda: np.full(a.shape, rng.choice([-1, 0, 1, 100]), a.dtype) if a.dtype != bool else ~a,
        lambda: np.full(a.shape, np.nan) if a.dtype.kind == "f" else a[::-1].copy() if a.ndim else a + 1,
    ]
    if rng.random() < 0.2:
        arrays[str(rng.choice([f"{name}!", "optimizer/x", "training/x", "x" * 500]))] = arrays.pop(name)
    else:
        arrays[name] = np.asarray(lies[rng.integers(len(lies))](), order="C")

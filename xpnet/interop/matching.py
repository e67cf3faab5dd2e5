"""Which of PyTorch's modules is which layer here: by name, or by their shapes and order; before anything is done.

PyTorch names an array by the module that owns it and what that calls it: ``features.0.weight``. Modules of the same
prefix are one, and stand in the order in which they were made.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from itertools import zip_longest
from typing import Any

from xpnet.errors import CheckpointError
from xpnet.layers import Affine, BatchNorm, Conv1d, Conv2d, Embedding, LayerNorm
from xpnet.layers.base import Layer, shapes_of
from xpnet.layers.leaves import Leaf, leaves
from xpnet.serialization.config import shortened
from xpnet.serialization.network import told

Shape = tuple[int, ...]
#: What PyTorch calls the arrays of a layer.
NAMES: dict[type[Layer], dict[str, str]] = {
    Affine: {"W": "weight", "b": "bias"},
    Conv1d: {"W": "weight", "b": "bias"},
    Conv2d: {"W": "weight", "b": "bias"},
    BatchNorm: {"gamma": "weight", "beta": "bias", "mean": "running_mean", "var": "running_var"},
    LayerNorm: {"gamma": "weight", "beta": "bias"},
    Embedding: {"W": "weight"},
}
#: What a module of PyTorch may lack, and what an array of ours that has nothing there is then.
ABSENT = {"b": 0.0, "beta": 0.0, "gamma": 1.0}
#: How many minibatches a BatchNorm of PyTorch has seen, which nothing here depends on.
COUNTER = "num_batches_tracked"
#: Of digits that a name may have; Python does not read numbers of many thousand.
NUMBERS = re.compile(r"([0-9]{1,18})")
#: How many misfits are listed.
MOST = 1000


@dataclass(frozen=True)
class Match:
    """Where an array of ours is in PyTorch.

    Attributes:
        name: ours: ``W1``.
        theirs: ``fc1.weight``; None where the module has none, and ours is ``absent``.
        transposed: whether it lies the other way round there.
        absent: the number that stands for what is not there.
    """

    name: str
    theirs: str | None
    transposed: bool
    absent: float = 0.0


@dataclass(frozen=True)
class Matching:
    """All matches, and which layer is which module: ``{"Affine1": "fc1"}``."""

    matches: tuple[Match, ...]
    modules: dict[str, str]


def layers_with_arrays(net: Any) -> dict[str, Leaf]:
    """The layers of a network that have arrays, by their paths.

    Raises:
        TypeError: one is of a kind that PyTorch has no module for.
    """
    found = {leaf.path: leaf for leaf in leaves(net.chain) if leaf.outside}
    for path, leaf in found.items():
        if type(leaf.layer) not in NAMES:
            raise TypeError(
                f"{path} is {leaf.layer!r:.100}; PyTorch's names are known of {', '.join(k.__name__ for k in NAMES)}; "
                "assign its arrays yourself: net.params[name] = ..."
            )
    return found


def match(
    net: Any, shapes: Mapping[str, Shape], names: Mapping[str, str] | None, source: str, *, ordered: bool = True
) -> Matching:
    """Which array is where; or an error that lists everything that does not fit.

    A layer takes the first module of its shapes that no layer before it has taken.

    Args:
        net: the network.
        shapes: the shape of each of PyTorch's arrays by name.
        names: the module of some layers.
        source: what the arrays are from, for messages.
        ordered: whether modules stand in the order in which they were made. A file has them in the order of the
            alphabet: then the numbers in their names have to tell modules of the same shapes apart.

    Raises:
        TypeError: names is no mapping; see also :func:`layers_with_arrays`.
        ValueError: names has a layer or a module that there is not.
        CheckpointError: something does not fit, or may fit in more than one way.
    """
    ours, theirs = layers_with_arrays(net), modules_of(shapes)
    if not ordered:
        theirs = dict(sorted(theirs.items(), key=lambda item: _by_numbers(item[0])))
    if len(theirs) > MOST + 10 * len(ours):  # each would be compared with each
        raise CheckpointError(f"{source} has {len(theirs)} modules, and this network {len(ours)} layers with arrays")
    modules = _checked(names, ours, theirs)
    rest, misfits = [module for module in theirs if module not in modules.values()], list[str]()
    for path in (path for path in ours if path not in modules):
        fitting = [module for module in rest if not _pair(ours[path], module, theirs[module])[1]]
        if fitting:
            modules[path] = fitting[0]
            rest.remove(fitting[0])
        alike = [] if ordered else [each for each in fitting if _pattern(each) != _pattern(fitting[0])]
        if alike:
            misfits.append(
                f"{path} may be {told(fitting[0])} or {told(alike[0])}, and a file does not keep their order"
            )
    matches = list[Match]()
    for path, module in modules.items():
        found, problems = _pair(ours[path], module, theirs[module])
        matches += found
        misfits += problems
    for path, module in zip_longest([path for path in ours if path not in modules], rest):
        if path is None:
            misfits.append(f"{_listed(module, theirs[module])}: the network has no layer for this")
        elif module is None:
            misfits.append(f"{path}, {ours[path].layer!r:.100}: nothing is left for this layer")
        else:
            misfits += _pair(ours[path], module, theirs[module])[1]
    if misfits:
        raise CheckpointError(_message(source, misfits))
    return Matching(tuple(matches), {path: modules[path] for path in ours})


def _message(source: str, misfits: list[str]) -> str:
    more = [f"and {len(misfits) - MOST} more"] if len(misfits) > MOST else []
    return (
        f"{source} does not fit this network: {'; '.join(misfits[:MOST] + more)}. Modules of equal shapes are taken in "
        "order; to say yourself which is which layer: names={'Affine1': 'fc1', ...}"
    )


def _by_numbers(name: str) -> list[str | int]:
    """A key that puts layers.10 behind layers.9."""
    return [int(part) if i % 2 else part for i, part in enumerate(NUMBERS.split(name))]


def _pattern(name: str) -> str:
    """A name but for its numbers."""
    return NUMBERS.sub("0", name)


def modules_of(shapes: Mapping[str, Shape]) -> dict[str, dict[str, Shape]]:
    """The arrays of each module by the module's names for them, by the module's prefix."""
    found: dict[str, dict[str, Shape]] = {}
    for name, shape in shapes.items():
        module, _, local = name.rpartition(".")
        if local != COUNTER:
            found.setdefault(module, {})[local] = tuple(shape)
    return found


def torch_name(module: str, local: str) -> str:
    return f"{module}.{local}" if module else local


def _pair(leaf: Leaf, module: str, arrays: dict[str, Shape]) -> tuple[list[Match], list[str]]:
    """The matches of one layer, and what does not fit."""
    names, shapes = NAMES[type(leaf.layer)], _shapes(leaf.layer)
    matches, problems = list[Match](), list[str]()
    for local, shape in shapes.items():
        transposed = isinstance(leaf.layer, Affine) and local == "W"
        wanted, name = shape[::-1] if transposed else shape, torch_name(module, names[local])
        found = arrays.get(names[local])
        if found == wanted or (found is None and local in ABSENT):
            theirs = None if found is None else name
            matches.append(Match(leaf.outside[local], theirs, transposed, ABSENT.get(local, 0.0)))
        else:
            has = "is missing" if found is None else f"has shape {shortened(found)}"
            turned = f", transposed to {shape}" if transposed else ""
            problems.append(f"{told(name)} {has}, expected {wanted} for {leaf.outside[local]} of {leaf.path}{turned}")
    for local in arrays.keys() - names.values():
        name = told(torch_name(module, local))
        problems.append(f"{name} of shape {shortened(arrays[local])} is not expected, as {leaf.path} has no such array")
    return matches, sorted(problems)


def _shapes(layer: Layer) -> dict[str, Shape]:
    return shapes_of(layer) | {name: tuple(a.shape) for name, a in layer.buffers().items()}


def _checked(
    names: Mapping[str, str] | None, ours: dict[str, Leaf], theirs: dict[str, dict[str, Shape]]
) -> dict[str, str]:
    """The modules that the caller names, by layer."""
    if names is None:
        return {}
    if not isinstance(names, Mapping):
        raise TypeError(f"names is {names!r:.100}, expected a dict from layers to modules: {{'Affine1': 'fc1'}}")
    for path, module in names.items():
        if path not in ours:
            raise ValueError(f"names has the layer {path!r:.100}; those with arrays are {', '.join(ours)}")
        if module not in theirs:
            known = ", ".join(map(told, list(theirs)[:MOST]))
            raise ValueError(f"names has the module {module!r:.100}, and there are {known}")
    if len(set(names.values())) < len(names):
        twice = next(module for module in names.values() if list(names.values()).count(module) > 1)
        raise ValueError(f"names has the module {twice!r} for two layers, and layers do not share weights")
    return dict(names)


def _listed(module: str, arrays: dict[str, Shape]) -> str:
    return ", ".join(f"{told(torch_name(module, local))} {shortened(shape)}" for local, shape in arrays.items())

"""A trainer in a file, and a trainer from a file; nothing in the file is believed until it was looked at."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator, Sequence
from dataclasses import astuple
from dataclasses import fields as fields_of
from math import inf, prod
from pathlib import Path
from typing import Any, TypeVar

import numpy as np

from xpnet import optimizers
from xpnet._typing import Optimizer, State, Transform
from xpnet.backends.base import HALF_DTYPES
from xpnet.backends.dispatch import Backend, dtype_name
from xpnet.errors import CheckpointError
from xpnet.models import Sequential
from xpnet.models import load as models_load
from xpnet.models.mixed import check_compute_dtype
from xpnet.optimizers import OPTIMIZERS, TRANSFORMS
from xpnet.optimizers.loss_scaling import with_loss_scaling
from xpnet.optimizers.transforms import check_transforms
from xpnet.parallel import Parallel
from xpnet.schedules import SCHEDULES
from xpnet.serialization import atomic, tensors
from xpnet.serialization import network as files
from xpnet.serialization.atomic import PathLike, path_of
from xpnet.serialization.config import check_plain, from_config, kind_of, shortened, to_config
from xpnet.training.history import Evaluation
from xpnet.training.minibatches import SAMPLING, Minibatches
from xpnet.training.state import TrainingState

#: Random generators whose state is a few integers, which a file can be asked for safely.
GENERATORS = ("PCG64", "PCG64DXSM")
#: What stands before the names of what an optimizer and the transforms remember, and of the series of the history.
REMEMBERED, SERIES = {"optimizer/": "optimizer_state", "transforms/": "transform_states"}, "training/"
#: What an optimizer remembers and can be told anew.
DERIVED = ("optimizer/t", "optimizer/scale")
#: How many numbers an evaluation has: all of it but whether an epoch ends there and whether it is a regular one.
NUMBERS = len(fields_of(Evaluation)) - 2
#: What may be made of an optimizer's description.
KINDS = {kind.__name__: kind for kind in (*OPTIMIZERS.values(), *SCHEDULES.values())}
#: What may be made of the descriptions of transforms.
TRANSFORM_KINDS = {kind.__name__: kind for kind in TRANSFORMS.values()}

Kind = TypeVar("Kind", bound=TrainingState)


def check(trainer: TrainingState, path: PathLike) -> None:
    """Raise what :func:`save` would raise, as far as it can be known before."""
    text, series = _checked(trainer)
    header = files.header_of(trainer.net) | _memory_header(trainer) | tensors.header_of(series)
    sizes = (prod(shape) * np.dtype(dtype).itemsize for shape, dtype in header.values())
    atomic.check_writable(path, len(text) + sum(sizes))


def save(trainer: TrainingState, path: PathLike) -> None:
    """Write all that is needed to go on."""
    text, series = _checked(trainer)
    memory = {name: trainer.net.backend.to_numpy(inside[key]) for name, inside, key in _remembered(trainer)}
    files.write(trainer.net, path, text, memory | series)


def _checked(trainer: TrainingState) -> tuple[str, dict[str, np.ndarray]]:
    """The description of a training and its series, once it is seen that :func:`load` will take them.

    A file that nobody can read is noticed when it is needed, and then it is too late.
    """
    batches, history, rng = trainer.batches, trainer.history, trainer.rng.bit_generator
    if type(rng).__name__ not in GENERATORS:
        raise ValueError(
            f"the random generator is {type(rng).__name__}, whose state a checkpoint cannot hold; train with seed=0 "
            "or numpy.random.default_rng(0)"
        )
    if not isinstance(trainer.notes, dict):
        raise TypeError(f"trainer.notes is {shortened(trainer.notes)}, expected a dict")
    check_plain(trainer.notes, "trainer.notes cannot be kept in a checkpoint: trainer.notes")
    series = {f"{SERIES}order": batches.order.astype(np.int64)}
    for name in ("losses", "learning_rates"):
        series[f"{SERIES}{name}"] = np.asarray(getattr(history, name)[: trainer.iteration], np.float64)
    series |= _table(history.evaluations)
    training = {
        "optimizer": to_config(trainer.optimizer),
        "transforms": [to_config(transform) for transform in trainer.transforms],
        "batch_size": trainer.batch_size,
        "sampling": trainer.sampling,
        "compile": trainer.compile,
        "compute_dtype": trainer.compute_dtype,
        "tf32": trainer.tf32,
        "iteration": trainer.iteration,
        "epoch": batches.epoch,
        "n": batches.n,
        "taken": batches.taken,
        "passed": batches.passed + 1,
        "rng": rng.state,
        "samples": history.samples,
        "seconds": history.seconds,
        "wall": history.wall,
        "evaluations": len(history.evaluations),
        "notes": trainer.notes,
    }
    text = files.text_about(trainer.net, training=training)
    memory = _memory_header(trainer)
    tensors.check_names(memory)
    try:
        fields = _Fields("this training could not be loaded again", json.loads(text)["training"])
        expected = memory | _series_header(fields, series[f"{SERIES}order"].shape)
        files.check_header("what would be saved", memory | tensors.header_of(series), expected, "this training")
        _options(fields)
        _past(fields, series)
    except CheckpointError as error:  # there is no file yet
        raise ValueError(str(error)) from None
    return text, series


def load(
    kind: type[Kind],
    path: PathLike,
    net: Sequential | None,
    optimizer: Optimizer | None,
    applied: Sequence[Transform] | None,
    backend: str | Backend | None,
    device: Any,
    parallel: str | Parallel | None = None,
    compute_dtype: Any = None,
) -> Kind:
    """The trainer that :func:`save` wrote."""
    if net is not None and (backend is not None or device is not None):
        raise ValueError("net and backend are both given; the trainer will be where net is: net.to(backend)")
    if net is not None and not isinstance(net, Sequential):
        raise TypeError(f"net is {net!r}, expected a network: TwoLayerNet(784, 50, 10), for example")
    path = path_of(path)
    made: list[tuple[Kind, _Fields]] = []
    places: dict[str, tuple[State, str]] = {}

    def look(header: tensors.Header, metadata: dict[str, str]) -> None:
        about = files.about(path, metadata)
        if "training" not in about:
            raise CheckpointError(f"{path} holds weights alone, and no training to go on with; load_network reads it")
        fields, weights, to = _Fields(f"{path} is damaged", about["training"]), files.weights_in(header, metadata), net
        if to is None:
            to = models_load.network_from(path, about, weights, backend, device)
            to.take_zeros()
        else:
            expected = files.arrays_of(to.chain, dtype_name(to.dtype))
            files.check_header(path, weights, expected, "this network")
            _check_alike(path, about.get("network"), files.network_description(to))
        options = _options(fields) | ({} if compute_dtype is None else {"compute_dtype": compute_dtype})
        try:
            half = check_compute_dtype(to, options["compute_dtype"])
        except ValueError as error:
            raise CheckpointError(f'{path}: {error}, or go on with compute_dtype="float32"') from None
        given = None if applied is None else with_loss_scaling(check_transforms(applied), half)
        rule, pieces = _optimizer(path, fields, optimizer), _transforms(path, fields, given)
        trainer = kind(to, rule, transforms=pieces, parallel=parallel, **options)
        beside = {name: what for name, what in header.items() if name not in weights}
        order, _ = beside.get(f"{SERIES}order", ((), ""))
        expected = _memory_header(trainer) | _series_header(fields, order)
        if optimizer is not None:  # it may have a schedule, or none, where the one in the file has not
            either = {name for name in DERIVED if (name in beside) != (name in expected)}
            beside, expected = ({k: v for k, v in some.items() if k not in either} for some in (beside, expected))
        files.check_header(path, beside, expected, "this training")
        if net is None:
            to.params = dict.fromkeys(to.params)  # their memory goes to those that are read
        places.update((name, (inside, key)) for name, inside, key in _remembered(trainer))
        made.append((trainer, fields))

    def place(name: str, array: np.ndarray) -> Any:
        if name.startswith(SERIES):
            return array
        moved = made[0][0].net.backend.asarray(array)
        if name in places:
            inside, key = places[name]
            inside[key] = moved
        return moved

    arrays = tensors.read_arrays(path, look, place)
    ((trainer, fields),) = made
    _fill(trainer, fields, arrays)
    return trainer


def _check_alike(path: str | Path, theirs: Any, ours: dict[str, Any]) -> None:
    """Raise unless a network that is given has layers and a loss of the kinds in the file."""
    kinds = []
    for network in (theirs, ours):
        try:
            kinds.append([part["kind"] for part in (*network["layers"], network["loss"])])
        except (TypeError, KeyError):
            raise CheckpointError(f"{path} is damaged: its network is {shortened(network)}") from None
    if kinds[0] != kinds[1]:
        raise CheckpointError(f"{path} is of another network: {shortened(kinds[0], 400)} in the file, {kinds[1]} given")


class _Fields:
    """The plain data of a training, each looked at as it is taken; messages begin with the complaint."""

    def __init__(self, complaint: str, values: Any) -> None:
        self.complaint, self.values = complaint, values
        if not isinstance(values, dict):
            raise CheckpointError(f"{complaint}: its training is {shortened(values)}")

    def of(self, name: str, *kinds: type) -> Any:
        value = self.values.get(name)
        if not isinstance(value, kinds) or (isinstance(value, bool) and bool not in kinds):
            raise self.damaged(name)
        return value

    def count(self, name: str, least: int = 0, below: int = 2**53) -> int:
        value: int = self.of(name, int)
        if not least <= value < below:
            raise self.damaged(name)
        return value

    def number(self, name: str, least: float = 0) -> float:
        """A finite number."""
        value = self.of(name, int, float)
        if not least <= value <= sys.float_info.max:  # integers may be too large for a float
            raise self.damaged(name)
        return float(value)

    def damaged(self, name: str) -> CheckpointError:
        return CheckpointError(f"{self.complaint}: its {name} is {shortened(self.values.get(name))}")


def _optimizer(path: Path, fields: _Fields, given: Optimizer | None) -> Optimizer:
    """The optimizer in the file, or the one that is given if it is of the same kind."""
    found = fields.of("optimizer", dict)
    if given is not None:
        if found.get("kind") != kind_of(type(given)):
            raise CheckpointError(
                f"{path} is of another optimizer: {shortened(found.get('kind'))} in the file, {given!r} given"
            )
        return given
    try:
        made = from_config(found, KINDS)
    except CheckpointError as error:
        raise CheckpointError(f"{path} has an optimizer that cannot be made: {error}; give it: optimizer=") from None
    if not isinstance(made, optimizers.Optimizer):
        raise fields.damaged("optimizer")
    return made


def _transforms(path: Path, fields: _Fields, given: tuple[Transform, ...] | None) -> tuple[Transform, ...]:
    """The transforms in the file, or those that are given if they are of the same kinds."""
    found = fields.of("transforms", list)
    if given is not None:
        kinds = [each.get("kind") if isinstance(each, dict) else None for each in found]
        if kinds != [kind_of(type(each)) for each in given]:
            raise CheckpointError(f"{path} is of other transforms: {shortened(kinds)} in the file, {given!r} given")
        return given
    try:
        return check_transforms([from_config(each, TRANSFORM_KINDS) for each in found])
    except (CheckpointError, TypeError) as error:
        raise CheckpointError(f"{path} has a transform that cannot be made: {error}; give it: transforms=") from None


def _options(fields: _Fields) -> dict[str, Any]:
    """How the trainer in the file was made."""
    sampling = fields.of("sampling", str)
    if sampling not in SAMPLING:
        raise fields.damaged("sampling")
    if fields.of("compute_dtype", str, type(None)) not in (None, *HALF_DTYPES):
        raise fields.damaged("compute_dtype")
    found = {name: fields.of(name, bool, type(None)) for name in ("compile", "tf32")}
    found |= {"sampling": sampling, "batch_size": fields.count("batch_size", 1)}
    return found | {"compute_dtype": fields.of("compute_dtype", str, type(None))}


def _memory_header(trainer: TrainingState) -> tensors.Header:
    """What a file has to have of what the optimizer and the transforms remember."""
    arrays = ((name, inside[key]) for name, inside, key in _remembered(trainer))
    return {name: (tuple(a.shape), dtype_name(a.dtype)) for name, a in arrays}


def _series_header(fields: _Fields, order: tuple[int, ...]) -> tensors.Header:
    """What a file with an order of this shape has to have of series."""
    steps, rows = (fields.count("iteration"),), fields.count("evaluations")
    none = (0,)  # before the first epoch, and where samples are drawn with replacement
    permutation = none if order == none else (fields.count("n"),)
    shapes = {"losses": steps, "learning_rates": steps, "evaluations": (rows, NUMBERS)}
    found = {f"{SERIES}{name}": (shape, "float64") for name, shape in shapes.items()}
    return found | {f"{SERIES}order": (permutation, "int64"), f"{SERIES}evaluated": ((rows, NUMBERS), "bool")}


def _fill(trainer: TrainingState, fields: _Fields, arrays: dict[str, Any]) -> None:
    """Put what is in the file into a trainer that is like the one that was saved; its network comes last."""
    backend, history = trainer.net.backend, trainer.history
    trainer.batches, history.evaluations, trainer.notes = _past(fields, arrays)
    trainer.rng = trainer.batches.rng
    history.losses, history.learning_rates = (
        arrays[f"{SERIES}{name}"].tolist() for name in ("losses", "learning_rates")
    )
    history.samples = fields.count("samples", below=2**52)  # with room for more, which have to be read again
    history.seconds, history.wall = (fields.number(name, -inf) for name in ("seconds", "wall"))
    trainer.iteration = len(history.losses)
    state = trainer.optimizer_state
    if "t" in state and "optimizer/t" not in arrays:
        state["t"] = backend.asarray(trainer.optimizer_steps(trainer.iteration), state["t"].dtype)
    try:
        trainer.check_scale()
    except ValueError as error:
        raise CheckpointError(
            f"{fields.complaint}: it has a history that its learning rate cannot be told from: {error}"
        ) from None
    if "scale" in state:
        state["scale"] = backend.asarray(trainer.scale, state["scale"].dtype)
    trainer.net.take_arrays(arrays)


def _past(fields: _Fields, series: dict[str, Any]) -> tuple[Minibatches, list[Evaluation], dict[str, Any]]:
    """The minibatches at their place, the evaluations so far and the notes."""
    fields.count("samples")
    for name in ("seconds", "wall"):
        fields.number(name, -inf)  # a clock may be put back
    notes = fields.of("notes", dict)
    try:
        check_plain(notes, "notes")
    except (TypeError, ValueError) as error:
        raise CheckpointError(f"{fields.complaint}: its {error}") from None
    return _batches(fields, series[f"{SERIES}order"]), _evaluations(fields, series), notes


def _generator(fields: _Fields) -> np.random.Generator:
    state = fields.of("rng", dict)
    if state.get("bit_generator") not in GENERATORS:
        raise fields.damaged("rng")
    made = getattr(np.random, state["bit_generator"])()
    try:
        made.state = state
    except (TypeError, ValueError, KeyError, OverflowError):
        raise fields.damaged("rng") from None
    if made.state != state:
        raise fields.damaged("rng")
    return np.random.Generator(made)


def _batches(fields: _Fields, order: np.ndarray) -> Minibatches:
    """The minibatches at the place where the file left them."""
    sampling = fields.of("sampling", str)
    batches = Minibatches(fields.count("n"), fields.count("batch_size", 1), _generator(fields), sampling)
    batches.passed = fields.number("passed") - 1
    batches.order, batches.taken = order, fields.count("taken")
    missing = sampling != "replacement" and not batches.epoch_ended and not order.size
    if batches.taken > batches.per_epoch or batches.epoch < 0 or missing or not _is_permutation(order):
        raise CheckpointError(f"{fields.complaint}: its place in the permutation of {batches.n} samples cannot be")
    return batches


def _is_permutation(order: np.ndarray) -> bool:
    if (order < 0).any() or (order >= order.size).any():
        return False
    seen = np.zeros(order.size, np.bool_)
    seen[order] = True
    return bool(seen.all())


def _table(evaluations: list[Evaluation]) -> dict[str, np.ndarray]:
    """Evaluations as rows of numbers; which of accuracies, losses and R² there are, and of what kind each is."""
    rows = [astuple(e) for e in evaluations]
    there = [[*(value is not None for value in row[2:NUMBERS]), *row[NUMBERS:]] for row in rows]
    values = [[0.0 if value is None else value for value in row[:NUMBERS]] for row in rows]
    return {
        f"{SERIES}evaluations": np.asarray(values, np.float64).reshape(-1, NUMBERS),
        f"{SERIES}evaluated": np.asarray(there, np.bool_).reshape(-1, NUMBERS),
    }


def _evaluations(fields: _Fields, arrays: dict[str, np.ndarray]) -> list[Evaluation]:
    table, there = arrays[f"{SERIES}evaluations"], arrays[f"{SERIES}evaluated"]
    epochs, iterations = table[:, 0], table[:, 1]
    possible = (epochs >= 0) & np.isfinite(epochs) & (iterations >= 0) & (iterations <= fields.count("iteration"))
    if not possible.all() or (iterations != np.floor(iterations)).any():
        raise CheckpointError(f"{fields.complaint}: it has evaluations of steps that were not taken")
    found = []
    for (epoch, iteration, *values), row in zip(table.tolist(), there.tolist(), strict=True):
        *known, ends, regular = row
        rates: list[Any] = [value if is_there else None for value, is_there in zip(values, known, strict=True)]
        found.append(Evaluation(epoch, int(iteration), *[*rates, ends, regular]))
    return found


def _remembered(trainer: TrainingState) -> Iterator[tuple[str, State, str]]:
    """Each array that the optimizer and the transforms remember, as :func:`_leaves` gives it."""
    for prefix, attribute in REMEMBERED.items():
        yield from _leaves(getattr(trainer, attribute), prefix)


def _leaves(tree: State, prefix: str) -> Iterator[tuple[str, State, str]]:
    """Each array in nested dicts: its name in a file, the dict that it is in, and its key there."""
    for key, value in tree.items():
        if isinstance(value, dict):
            yield from _leaves(value, f"{prefix}{key}/")
        else:
            yield prefix + key, tree, key

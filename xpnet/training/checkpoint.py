"""A trainer in a file, and a trainer from a file; nothing in the file is believed until it was looked at."""

from __future__ import annotations

import json
from dataclasses import astuple
from pathlib import Path
from typing import Any

import numpy as np

from xpnet import optimizers, storage
from xpnet._typing import Optimizer, State
from xpnet.backend import Backend, dtype_name
from xpnet.descriptions import described, kind_of, rebuilt, shortened
from xpnet.errors import CheckpointError
from xpnet.minibatches import SAMPLING, Minibatches
from xpnet.models import Sequential, files, rebuilding
from xpnet.optimizers import OPTIMIZERS
from xpnet.schedules import SCHEDULES
from xpnet.training.history import Evaluation

#: Random generators whose state is a few integers, which a file can be asked for safely.
GENERATORS = ("PCG64", "PCG64DXSM")
#: What an optimizer remembers and can be told anew.
DERIVED = ("optimizer/t", "optimizer/scale")
#: What may be made of an optimizer's description.
KINDS = {kind.__name__: kind for kind in (*OPTIMIZERS.values(), *SCHEDULES.values())}


def check(trainer: Any, path: str | Path) -> None:
    """Raise what :func:`save` would raise, as far as it can be known before."""
    rng, folder = trainer.rng.bit_generator, Path(path).resolve().parent
    if type(rng).__name__ not in GENERATORS:
        raise ValueError(
            f"the random generator is {type(rng).__name__}, whose state a checkpoint cannot hold; train with seed=0 "
            "or numpy.random.default_rng(0)"
        )
    try:
        json.dumps(trainer.notes)
    except (TypeError, ValueError) as error:
        raise TypeError(
            f"trainer.notes cannot be kept in a checkpoint, as it holds what JSON cannot: {error}"
        ) from None
    if not isinstance(trainer.notes, dict):
        raise TypeError(f"trainer.notes is {trainer.notes!r}, expected a dict")
    if not folder.is_dir():
        raise FileNotFoundError(2, "there is no folder for the checkpoint", str(folder))


def save(trainer: Any, path: str | Path) -> None:
    """Write all that is needed to go on."""
    check(trainer, path)
    batches, history, rng = trainer.batches, trainer.history, trainer.rng.bit_generator
    beside = {f"optimizer/{name}": trainer.net.backend.to_numpy(a) for name, a in _flat(trainer.memory).items()}
    beside["training/order"] = batches.order.astype(np.int64)
    for name in ("losses", "learning_rates"):
        beside[f"training/{name}"] = np.asarray(getattr(history, name)[: trainer.iteration], np.float64)
    training = {
        "optimizer": described(trainer.optimizer),
        "batch_size": trainer.batch_size,
        "sampling": trainer.sampling,
        "divide_x_by": trainer.divide_x_by,
        "compile": trainer.compile,
        "iteration": trainer.iteration,
        "epoch": batches.epoch,
        "n": batches.n,
        "taken": batches.taken,
        "passed": batches.passed + 1,
        "rng": rng.state,
        "samples": history.samples,
        "seconds": history.seconds,
        "evaluations": len(history.evaluations),
        "notes": trainer.notes,
    }
    files.save(trainer.net, path, beside | _table(history.evaluations), training=training)


def load(
    kind: type,
    path: str | Path,
    net: Sequential | None,
    optimizer: Optimizer | None,
    backend: str | Backend | None,
    device: Any,
) -> Any:
    """The trainer that :func:`save` wrote."""
    if net is not None and (backend is not None or device is not None):
        raise ValueError("net and backend are both given; the trainer will be where net is: net.to(backend)")
    if net is not None and not isinstance(net, Sequential):
        raise TypeError(f"net is {net!r}, expected a network: TwoLayerNet(784, 50, 10), for example")
    made: list[Any] = []

    def look(header: storage.Header, metadata: dict[str, str]) -> None:
        about = files.about(path, metadata)
        if "training" not in about:
            raise CheckpointError(f"{path} holds weights alone, and no training to go on with; load_network reads it")
        fields, weights, to = _Fields(path, about["training"]), files.weights_in(header, metadata), net
        if to is None:
            to = rebuilding.network_from(path, about, weights, backend, device)
        else:
            expected = files.parameters_of(to.layers.values(), dtype_name(to.dtype))
            files.check_header(path, weights, expected, "this network")
            _check_alike(path, about.get("network"), files.network_description(to))
        trainer = _trainer(kind, fields, to, _optimizer(fields, optimizer))
        beside = {name: what for name, what in header.items() if name not in weights}
        expected = _expected(trainer, fields, beside)
        if optimizer is not None:  # it may have a schedule, or none, where the one in the file has not
            either = {name for name in DERIVED if (name in beside) != (name in expected)}
            beside, expected = ({k: v for k, v in some.items() if k not in either} for some in (beside, expected))
        files.check_header(path, beside, expected, "this training")
        made.extend((trainer, fields))

    arrays = storage.read_arrays(path, look)
    trainer, fields = made
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
    """The plain data of a training, each looked at as it is taken."""

    def __init__(self, path: str | Path, values: Any) -> None:
        self.path, self.values = path, values
        if not isinstance(values, dict):
            raise CheckpointError(f"{path} is damaged: its training is {shortened(values)}")

    def of(self, name: str, *kinds: type) -> Any:
        value = self.values.get(name)
        if not isinstance(value, kinds) or (isinstance(value, bool) and bool not in kinds):
            raise self.damaged(name)
        return value

    def count(self, name: str, least: int = 0) -> int:
        value: int = self.of(name, int)
        if not least <= value < 2**53:
            raise self.damaged(name)
        return value

    def number(self, name: str) -> float:
        """A finite number, zero or more."""
        value = self.of(name, int, float)
        if not 0 <= value < 1e300:  # integers may be too large for a float
            raise self.damaged(name)
        return float(value)

    def damaged(self, name: str) -> CheckpointError:
        return CheckpointError(f"{self.path} is damaged: its {name} is {shortened(self.values.get(name))}")


def _optimizer(fields: _Fields, given: Optimizer | None) -> Optimizer:
    """The optimizer in the file, or the one that is given if it is of the same kind."""
    found = fields.of("optimizer", dict)
    if given is not None:
        if found.get("kind") != kind_of(type(given)):
            raise CheckpointError(
                f"{fields.path} is of another optimizer: {shortened(found.get('kind'))} in the file, {given!r} given"
            )
        return given
    try:
        made = rebuilt(found, KINDS)
    except CheckpointError as error:
        raise CheckpointError(
            f"{fields.path} has an optimizer that cannot be made: {error}; give it: optimizer="
        ) from None
    if not isinstance(made, optimizers.Optimizer):
        raise fields.damaged("optimizer")
    return made


def _trainer(kind: type, fields: _Fields, net: Sequential, optimizer: Optimizer) -> Any:
    """A trainer like the one in the file, still at its start."""
    sampling = fields.of("sampling", str)
    divide_x_by = None if fields.of("divide_x_by", int, float, type(None)) is None else fields.number("divide_x_by")
    if sampling not in SAMPLING:
        raise fields.damaged("sampling")
    if divide_x_by == 0:
        raise fields.damaged("divide_x_by")
    options = {"sampling": sampling, "divide_x_by": divide_x_by, "compile": fields.of("compile", bool, type(None))}
    return kind(net, optimizer, batch_size=fields.count("batch_size", 1), **options)


def _expected(trainer: Any, fields: _Fields, found: storage.Header) -> storage.Header:
    """What a file has to have beside the parameters."""
    expected = {f"optimizer/{k}": (tuple(a.shape), dtype_name(a.dtype)) for k, a in _flat(trainer.memory).items()}
    steps, rows = (fields.count("iteration"),), fields.count("evaluations")
    none = (0,), "int64"  # before the first epoch, and where samples are drawn with replacement
    permutation = (fields.count("n"),), "int64"
    expected["training/order"] = none if found.get("training/order") == none else permutation
    expected |= {"training/losses": (steps, "float64"), "training/learning_rates": (steps, "float64")}
    return expected | {"training/evaluations": ((rows, 6), "float64"), "training/evaluated": ((rows, 5), "bool")}


def _fill(trainer: Any, fields: _Fields, arrays: dict[str, np.ndarray]) -> None:
    """Put what is in the file into a trainer that is like the one that was saved; its network comes last."""
    backend, history = trainer.net.backend, trainer.history
    trainer.rng = _generator(fields)
    trainer.batches = _batches(trainer, fields, arrays["training/order"])
    trainer.notes = fields.of("notes", dict)
    history.losses, history.learning_rates = (arrays[f"training/{k}"].tolist() for k in ("losses", "learning_rates"))
    history.samples, history.seconds = fields.count("samples"), fields.number("seconds")
    history.evaluations = _evaluations(fields, arrays)
    trainer.iteration = len(history.losses)
    trainer.memory = _filled(trainer.memory, arrays, backend, "optimizer/")
    if "t" in trainer.memory and "optimizer/t" not in arrays:
        trainer.memory["t"] = backend.asarray(trainer.iteration, trainer.memory["t"].dtype)
    try:
        scale = trainer.rescale()
    except ValueError as error:
        raise CheckpointError(
            f"{fields.path} has a history that its learning rate cannot be told from: {error}"
        ) from None
    if scale is not None:
        trainer.memory["scale"] = backend.asarray(scale, trainer.memory["scale"].dtype)
    trainer.net.params = trainer.net.moved({name: arrays[name] for name in trainer.net.params})


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


def _batches(trainer: Any, fields: _Fields, order: np.ndarray) -> Minibatches:
    """The minibatches at the place where the file left them."""
    batches = Minibatches(fields.count("n"), trainer.batch_size, trainer.rng, trainer.sampling)
    batches.passed = fields.number("passed") - 1
    batches.order, batches.taken = order, fields.count("taken")
    missing = trainer.sampling == "epochs" and not batches.epoch_ended and not order.size
    if batches.taken > batches.per_epoch or missing or (order.size and (np.sort(order) != np.arange(batches.n)).any()):
        raise CheckpointError(
            f"{fields.path} is damaged: its place in the permutation of {batches.n} samples cannot be"
        )
    return batches


def _table(evaluations: list[Evaluation]) -> dict[str, np.ndarray]:
    """Evaluations as rows of numbers; which of the accuracies and losses there are, and whether an epoch ends there."""
    rows = [astuple(e) for e in evaluations]
    there = [[*(value is not None for value in row[2:6]), row[6]] for row in rows]
    values = [[0.0 if value is None else value for value in row[:6]] for row in rows]
    return {
        "training/evaluations": np.asarray(values, np.float64).reshape(-1, 6),
        "training/evaluated": np.asarray(there, np.bool_).reshape(-1, 5),
    }


def _evaluations(fields: _Fields, arrays: dict[str, np.ndarray]) -> list[Evaluation]:
    table, there = arrays["training/evaluations"], arrays["training/evaluated"]
    epochs, iterations = table[:, 0], table[:, 1]
    possible = (epochs >= 0) & np.isfinite(epochs) & (iterations >= 0) & (iterations <= fields.count("iteration"))
    if not possible.all() or (iterations != np.floor(iterations)).any():
        raise CheckpointError(f"{fields.path} is damaged: it has evaluations of steps that were not taken")
    found = []
    for (epoch, iteration, *values), row in zip(table.tolist(), there.tolist(), strict=True):
        *known, ends = row
        rates: list[Any] = [value if is_there else None for value, is_there in zip(values, known, strict=True)]
        train, test, train_loss, test_loss = rates
        found.append(Evaluation(epoch, int(iteration), train, test, train_loss, test_loss, ends))
    return found


def _flat(tree: State, prefix: str = "") -> dict[str, Any]:
    """Nested dicts as one, with the names of the way to each array."""
    found: dict[str, Any] = {}
    for name, value in tree.items():
        found |= _flat(value, f"{prefix}{name}/") if isinstance(value, dict) else {prefix + name: value}
    return found


def _filled(tree: State, arrays: dict[str, np.ndarray], backend: Backend, prefix: str) -> State:
    return {
        name: _filled(value, arrays, backend, f"{prefix}{name}/")
        if isinstance(value, dict)
        else backend.asarray(arrays[prefix + name], copy=True)
        if prefix + name in arrays
        else value
        for name, value in tree.items()
    }

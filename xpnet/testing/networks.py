"""A layer in a network: training steps that are compiled, and files."""

from __future__ import annotations

import tempfile
import warnings
from dataclasses import dataclass, fields, is_dataclass
from typing import Any

import numpy as np

from xpnet._typing import Array, Params
from xpnet.backends.dispatch import Backend, dtype_name, get_backend, namespace
from xpnet.errors import CompileWarning, DivergedError
from xpnet.initializers import zeros
from xpnet.layers.base import Container, Layer
from xpnet.losses import MeanSquaredError
from xpnet.models import Sequential, load_network
from xpnet.optimizers import SGD
from xpnet.testing.case import Case
from xpnet.testing.found import (
    TOLERANCES,
    Checked,
    dtypes_of,
)
from xpnet.training import Trainer

STEPS = 3


@dataclass(frozen=True, repr=False)
class Shifted(Layer):
    """y = x + a, a in the shape of a sample: what stands before a layer, so that its way back to x is trained through.

    Args:
        shape: the shape of a sample.
    """

    acts_on = "sample"

    shape: tuple[int, ...]

    def init(self, rng: Any, weight_init: Any) -> dict[str, Any]:
        return {"a": zeros(rng, self.shape)}

    def output_shape(self, shape: tuple[int, ...] | None) -> tuple[int, ...]:
        return self.shape

    def forward(self, params: Params, x: Array) -> tuple[Array, None]:
        return x + params["a"], None

    def backward(self, params: Params, residuals: None, dy: Array) -> tuple[Array, Params]:
        return dy, {"a": namespace(dy).sum(dy, axis=0)}


def network_of(layer: Layer, case: Case, backend: Backend, dtype: str) -> Sequential | None:
    """A network of the layer, and of one before it that has a parameter; None where there is nothing to train."""
    before = [] if layer.takes == "integers" else [Shifted(case.x.shape[1:])]
    if not before and not case.params:
        return None
    options: dict[str, Any] = {"weight_init": 0.5, "seed": case.seed, "dtype": dtype, "backend": backend}
    return Sequential([*before, layer], MeanSquaredError(), **options)


def check_steps(checked: Checked, layer: Layer, case: Case, backend: Backend) -> None:
    """Training steps that are compiled against the same steps as they are."""
    dtype = dtypes_of(backend)[0]
    with checked.at(f"{backend.name}, in {dtype}"):
        found = []
        for compiled in (False, True):
            net = checked.call("a network of it", network_of, layer, case, backend, dtype)
            if net is None:
                checked.notes.append("no steps were taken, as there is no parameter")
                return
            with warnings.catch_warnings(record=True) as caught:
                warnings.simplefilter("always")
                found.append(_trained(checked, net, case, compiled))
            if told := [str(w.message) for w in caught if issubclass(w.category, CompileWarning)]:
                raise checked.fail(f"a training step of it cannot be compiled: {told[0]}")
        tolerance = 0.0 if backend.name == "numpy" else TOLERANCES[dtype]
        largest = max(float(np.abs(a).max(initial=0)) for a in found[0].values())
        for name, wanted in found[0].items():
            what = f"{name} after compiled steps"
            checked.same(found[1][name], wanted, tolerance, what, "after plain ones it is", largest)


def _trained(checked: Checked, net: Sequential, case: Case, compiled: bool) -> dict[str, np.ndarray]:
    """Losses, parameters and buffers after a few steps."""
    samples = case.x.shape[0]
    x = net.backend.asarray(case.x.astype(dtype_name(net.dtype)) if case.x.dtype.kind == "f" else case.x)
    t = net.backend.asarray(case.weights(net.scores_shape(x)).astype(dtype_name(net.dtype)))
    trainer = Trainer(net, SGD(1e-3), batch_size=samples, seed=case.seed, compile=compiled)
    try:
        trainer.fit(x, t, iterations=STEPS, progress=False)
    except DivergedError as error:
        raise checked.fail(f"{STEPS} small training steps end with: {error}") from None
    except Exception as error:
        raise checked.fail(f"training steps of a network of it raised {type(error).__name__}: {error}") from error
    arrays = net.params | net.buffers
    host = {f"the value of {name!r}": net.backend.to_numpy(a) for name, a in arrays.items()}
    return {"the loss": np.asarray(trainer.history.losses), **host}


def check_files(checked: Checked, layer: Layer, case: Case) -> None:
    """A network of it is saved and loaded, by a description where its fields can be described."""
    net = checked.call("a network of it", network_of, layer, case, get_backend("numpy"), "float64")
    if net is None:
        checked.notes.append("nothing was saved, as there is no parameter")
        return
    net.buffers = {name: a + 0.25 for name, a in net.buffers.items()}
    wanted, other = net.predict(case.x), network_of(layer, case, net.backend, "float64")
    with tempfile.TemporaryDirectory() as folder:
        path = f"{folder}/weights.safetensors"
        checked.call("save", net.save, path)
        assert other is not None
        checked.call("load", other.load, path)
        loaded = [other]
        if what := undescribed(layer):
            checked.notes.append(f"load_network does not make it again, as files cannot hold {what}; load() does")
        else:
            kinds = [Shifted, *kinds_in(layer)]
            try:
                loaded.append(load_network(path, backend=net.backend, kinds=kinds))
            except Exception as error:
                raise checked.fail(
                    f"load_network cannot make it again: {error}. Fields that files can hold are numbers, text, layers "
                    "and tuples of them, declared with their types"
                ) from error
            if loaded[1].layers != net.layers:
                raise checked.fail(f"from a file it comes back as {list(loaded[1].layers.values())[-1]!r}")
    for again in loaded:
        checked.same(again.predict(case.x), wanted, 0, "the output after save and load", "before it was")


def kinds_in(layer: Layer) -> list[type]:
    """The classes of a layer and of all layers in it that are not xpnet's."""
    inside = [kind for child in (layer.children if isinstance(layer, Container) else ()) for kind in kinds_in(child)]
    return [*([] if type(layer).__module__.partition(".")[0] == "xpnet" else [type(layer)]), *inside]


def undescribed(part: Any) -> str:
    """What of the fields of a dataclass no file can describe; empty if there is nothing."""
    for field in (field for field in fields(part) if field.init or field.name == "layers"):
        value = getattr(part, field.name)
        for each in value if isinstance(value, tuple | list) else [value]:
            if is_dataclass(each):
                if found := undescribed(each):
                    return found
            elif not (each is None or isinstance(each, str | bool | int | float | np.number)):
                return f"{field.name} of {type(part).__name__}"
    return ""

"""What a layer returns, and its manners: nothing is kept, nothing that was given is changed, dtypes stay."""

from __future__ import annotations

from typing import Any

import numpy as np

from xpnet._typing import Array
from xpnet.backends.dispatch import Backend, describe, dtype_name, name_of
from xpnet.layers.base import Layer, shapes_of
from xpnet.testing.case import Case, keeps
from xpnet.testing.found import TOLERANCES, Checked, changed, lock, memory_of, to_device, to_host

#: What the input is called among the arrays that are given.
X = "the input x"


def check_calls(checked: Checked, case: Case, backend: Backend, dtype: str) -> dict[str, Any]:
    """What a layer returns, on the host, after it was seen that it has manners: for ``forward`` and for ``train``."""
    modes = ("forward", "train") if backend.trains else ("forward",)
    found = {mode: Calls(checked, case, backend, dtype, mode).results() for mode in modes}
    if backend.name == "numpy":  # and with arrays that cannot be written to, which find what writes the same again
        for mode in modes:
            given = lock(to_device(backend, case.given(training=mode == "train") | {X: case.x}, dtype))
            dy = lock(case.weights(found[mode]["y"].shape).astype(dtype))
            x = given.pop(X)
            residuals = checked.call(mode, getattr(checked.subject, mode), given, x)[1]
            checked.call("backward", checked.subject.backward, given, residuals, dy)
    return found


class Calls:
    """The calls of one way forward and back, on one backend, each with a look at what became of the arguments."""

    def __init__(self, checked: Checked, case: Case, backend: Backend, dtype: str, mode: str) -> None:
        self.checked, self.case, self.backend, self.dtype, self.mode = checked, case, backend, dtype, mode
        self.layer: Layer = checked.subject
        self.given = to_device(backend, case.given(training=mode == "train") | {X: case.x}, dtype)
        self.x = self.given[X]
        self.params = {name: a for name, a in self.given.items() if name != X}
        self.before, self.memory = to_host(backend, self.given), memory_of(self.layer)

    def results(self) -> dict[str, Any]:
        """Output, gradients and new values of buffers, on the host."""
        y, residuals, updates = self.forwards()
        dy = self.backend.asarray(self.case.weights(tuple(y.shape)).astype(self.dtype), copy=True)
        self.given["dy"], self.before["dy"] = dy, to_host(self.backend, dy)
        found = {"y": y, "updates": updates} | self.backwards(residuals, dy, "backward")
        found = dict(to_host(self.backend, found))
        again = self.backwards(residuals, dy, "backward, a second time with the same residuals,")
        self._same(found, to_host(self.backend, again), "backward", "it changes the residuals, or keeps something")
        once_more = dict(zip(("y", "updates"), self.forwards()[::2], strict=True))
        self._same(
            found,
            to_host(self.backend, once_more),
            self.mode,
            "it is no function of its arguments alone; what is random belongs in draws",
        )
        self._alone(found, residuals, dy)
        return found

    def forwards(self) -> tuple[Any, Any, Any]:
        """Output, residuals and new values of buffers."""
        results = self.checked.call(self.mode, getattr(self.layer, self.mode), self.params, self.x)
        self._look(self.mode)
        wanted = "y, residuals, updates" if self.mode == "train" else "y, residuals"
        if not isinstance(results, tuple) or len(results) != wanted.count(",") + 1:
            raise self.checked.fail(f"{self.mode} returns {_shown(results)}, expected {wanted}")
        y, residuals, updates = (*results, {})[:3]
        self._array(y, f"{self.mode}'s output")
        buffers = self.layer.buffers()
        if not isinstance(updates, dict) or not updates.keys() <= buffers.keys():
            raise self.checked.fail(
                f"train returns new values of {sorted(updates)}, and the buffers are {sorted(buffers)}; what is not in "
                "buffers() has no place in the state"
            )
        for name, a in updates.items():
            self._array(a, f"train's new value of {name!r}", tuple(np.shape(buffers[name])))
        return y, residuals, updates

    def backwards(self, residuals: Any, dy: Array, called: str) -> dict[str, Any]:
        """Gradients."""
        results = self.checked.call(called, self.layer.backward, self.params, residuals, dy)
        self._look("backward")
        if not isinstance(results, tuple) or len(results) != 2:
            raise self.checked.fail(f"backward returns {_shown(results)}, expected dx, grads")
        dx, grads = results
        if self.layer.takes != "integers":
            self._array(dx, "backward's dx", tuple(self.x.shape))
        elif dx is not None:
            raise self.checked.fail(f"backward returns {_shown(dx)} as the gradient of integers, expected None")
        self._gradients(grads, "backward")
        return {"dx": dx, "grads": grads}

    def _alone(self, found: dict[str, Any], residuals: Any, dy: Array) -> None:
        """What ``parameter_gradients`` and ``predict`` return, which is what the others do."""
        call, tolerance = self.checked.call, TOLERANCES[self.dtype] / 1000
        alone = call("parameter_gradients", self.layer.parameter_gradients, self.params, residuals, dy)
        self._look("parameter_gradients")
        self._gradients(alone, "parameter_gradients")
        for name, g in found["grads"].items():
            mine, what = self.backend.to_numpy(alone[name]), f"parameter_gradients' {name!r}"
            self.checked.same(mine, g, tolerance, what, "backward's", largest_of(found))
        if self.mode == "forward":
            y = call("predict", self.layer.predict, self.params, self.x)
            self._look("predict")
            self._array(y, "predict's output")
            self.checked.same(self.backend.to_numpy(y), found["y"], tolerance, "predict's output", "forward's")

    def _look(self, called: str) -> None:
        """Raise if something is kept, or what was given is another."""
        if left := changed(self.memory, memory_of(self.layer)):
            raise self.checked.fail(keeps(called, left))
        for name, was in self.before.items():
            now = self.backend.to_numpy(self.given[name])
            if not np.array_equal(now, was, equal_nan=True):
                at = tuple(int(i) for i in np.argwhere(now != was)[0])
                raise self.checked.fail(
                    f"{called} changed {name}, which belongs to the caller: entry {list(at)} was {was[at]:.9g} and is "
                    f"{now[at]:.9g}; make a new array: x = x + 1 instead of x += 1"
                )

    def _same(self, one: dict[str, Any], two: dict[str, Any], called: str, why: str) -> None:
        one, two = flat(one), flat(two)
        for name in two:
            if one[name] is not None and not np.array_equal(one[name], two[name], equal_nan=True):
                raise self.checked.fail(f"{called} gives another {name} when it is called again with the same: {why}")

    def _gradients(self, grads: Any, source: str) -> None:
        shapes = shapes_of(self.layer)
        if not isinstance(grads, dict) or grads.keys() != shapes.keys():
            names = sorted(grads) if isinstance(grads, dict) else _shown(grads)
            raise self.checked.fail(f"{source} returns gradients of {names}, expected one of each of {sorted(shapes)}")
        for name, g in grads.items():
            self._array(g, f"{source}'s gradient of {name!r}", shapes[name])

    def _array(self, a: Any, what: str, shape: tuple[int, ...] | None = None) -> None:
        if name_of(a) != self.backend.name:
            raise self.checked.fail(
                f"{what} is {describe(a)}, expected an array of backend {self.backend.name!r}, as the input is; "
                "compute with operators and the functions of namespace(x)"
            )
        if dtype_name(a.dtype) != self.dtype:
            raise self.checked.fail(
                f"{what} is {dtype_name(a.dtype)} where everything given was {self.dtype}; compute with Python "
                "numbers, and with arrays in the dtype of the input"
            )
        if shape is not None and tuple(a.shape) != shape:
            raise self.checked.fail(f"{what} has shape {tuple(a.shape)}, expected {shape}")


def _shown(value: Any) -> str:
    if isinstance(value, tuple):
        return f"{len(value)} values"
    return describe(value)


def flat(results: dict[str, Any]) -> dict[str, Any]:
    """Outputs and gradients by what they are called in sentences."""
    found = {"output": results["y"]} if "y" in results else {}
    found |= {"gradient with respect to x": results["dx"]} if "dx" in results else {}
    found |= {f"gradient with respect to {name!r}": g for name, g in results.get("grads", {}).items()}
    return found | {f"new value of {name!r}": a for name, a in results.get("updates", {}).items()}


def largest_of(results: dict[str, Any]) -> float:
    """The largest number in outputs and gradients."""
    return max(float(np.abs(a).max(initial=0)) for a in flat(results).values() if a is not None)

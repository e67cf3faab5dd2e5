"""The layer that learns: a matrix product and a bias."""

from __future__ import annotations

from dataclasses import dataclass
from math import prod
from typing import Any, ClassVar

from xpnet._checks import check_count
from xpnet._typing import Array, Params
from xpnet.backends.dispatch import namespace, quiet
from xpnet.initializers import zeros
from xpnet.layers.base import Layer, Shape


@dataclass(frozen=True, repr=False)
class Affine(Layer):
    """y = x W + b, with x (N, I) or (N, ...) of I elements a sample, W (I, O), b (O,), y (N, O).

    Backward: dx = dy Wᵀ in the shape of x, dW = xᵀ dy, db = Σ_n dy.

    Args:
        n_in, n_out: I and O, whole numbers of 1 or more; else ``ValueError``.
    """

    acts_on: ClassVar[str] = "sample"

    n_in: int
    n_out: int

    def __post_init__(self) -> None:
        for name in ("n_in", "n_out"):
            object.__setattr__(self, name, check_count(getattr(self, name), f"Affine: {name}"))

    def init(self, rng: Any, weight_init: Any) -> dict[str, Any]:
        return {"W": weight_init(rng, (self.n_in, self.n_out)), "b": zeros(rng, (self.n_out,))}

    def output_shape(self, shape: Shape) -> Shape:
        if shape is not None and prod(shape) != self.n_in:
            elements = "" if len(shape) == 1 else f" of {prod(shape)} elements"
            raise ValueError(f"Affine: a sample of shape {shape}{elements} does not fit, expected {self.n_in} elements")
        return (self.n_out,)

    @quiet
    def forward(self, params: Params, x: Array) -> tuple[Array, tuple[Array, tuple[int, ...]]]:
        rows = self._rows(x)
        y = namespace(x).matmul(rows, params["W"])
        y += params["b"]  # y is ours: in place where arrays allow it, a rebinding where not
        return y, (rows, x.shape)

    @quiet
    def backward(self, params: Params, residuals: Any, dy: Array) -> tuple[Array, Params]:
        xp, (_, shape) = namespace(dy), residuals
        if len(shape) == 2:
            dx = xp.matmul(dy, xp.matrix_transpose(params["W"]))
        else:  # with the samples innermost in memory, as layers of images have them
            dx = xp.matrix_transpose(xp.matmul(params["W"], xp.matrix_transpose(dy)))
            dx = xp.reshape(dx, shape)
        return dx, self.parameter_gradients(params, residuals, dy)

    @quiet
    def parameter_gradients(self, params: Params, residuals: Any, dy: Array) -> Params:
        xp = namespace(dy)
        return {"W": xp.matmul(xp.matrix_transpose(residuals[0]), dy), "b": xp.sum(dy, axis=0)}

    def _rows(self, x: Array) -> Array:
        """x as (N, I)."""
        if x.ndim < 2 or prod(x.shape[1:]) != self.n_in:
            raise ValueError(self._misfit(x))
        return x if x.ndim == 2 else namespace(x).reshape(x, (x.shape[0], self.n_in))

    def _misfit(self, x: Array) -> str:
        if x.ndim < 2:
            return f"Affine: x has shape {tuple(x.shape)}, expected (N, {self.n_in}); one sample is x.reshape(1, -1)"
        advice = "; flatten one sample with x.reshape(1, -1)" if prod(x.shape) == self.n_in else ""
        columns = f"{x.shape[1]} columns" if x.ndim == 2 else f"{tuple(x.shape[1:])} elements a sample"
        return f"Affine: x has {columns}, expected {self.n_in}{advice}"

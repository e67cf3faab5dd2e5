"""The layer that learns: a matrix product and a bias."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from math import prod
from typing import Any, ClassVar

from xpnet._checks import check_count
from xpnet._typing import Array, Params
from xpnet.backends.dispatch import namespace, quiet
from xpnet.initializers import zeros


@dataclass(frozen=True)
class Affine:
    """y = x W + b, with x (N, I) or (N, ...) of I elements a sample, W (I, O), b (O,), y (N, O).

    Backward: dx = dy Wᵀ in the shape of x, dW = xᵀ dy, db = Σ_n dy.
    """

    reach: ClassVar[str] = "sample"

    n_in: int
    n_out: int
    tag: str = ""

    def __post_init__(self) -> None:
        for name in ("n_in", "n_out"):
            object.__setattr__(self, name, check_count(getattr(self, name), f"Affine{self.tag}: {name}"))

    @property
    def label(self) -> str:
        return "Affine"

    @property
    def shapes(self) -> Mapping[str, tuple[int, ...]]:
        return {"W" + self.tag: (self.n_in, self.n_out), "b" + self.tag: (self.n_out,)}

    def tagged(self, tag: str) -> Affine:
        return replace(self, tag=tag)

    def init(self, rng: Any, weight_init: Any) -> Params:
        (W, W_shape), (b, b_shape) = self.shapes.items()
        return {W: weight_init(rng, W_shape), b: zeros(rng, b_shape)}

    @quiet
    def forward(self, params: Params, x: Array) -> tuple[Array, Array]:
        y = namespace(x).matmul(self._rows(x), params["W" + self.tag])
        y += params["b" + self.tag]  # y is ours: in place where arrays allow it, a rebinding where not
        return y, x

    @quiet
    def backward(self, params: Params, x: Array, dy: Array) -> tuple[Array, Params]:
        xp = namespace(dy)
        dx = xp.matmul(dy, xp.matrix_transpose(params["W" + self.tag]))
        return dx if x.ndim == 2 else xp.reshape(dx, x.shape), self.parameter_gradients(params, x, dy)

    @quiet
    def parameter_gradients(self, params: Params, x: Array, dy: Array) -> Params:
        xp = namespace(dy)
        dW = xp.matmul(xp.matrix_transpose(self._rows(x)), dy)
        return {"W" + self.tag: dW, "b" + self.tag: xp.sum(dy, axis=0)}

    def _rows(self, x: Array) -> Array:
        """x as (N, I)."""
        if x.ndim < 2 or prod(x.shape[1:]) != self.n_in:
            raise ValueError(self._misfit(x))
        return x if x.ndim == 2 else namespace(x).reshape(x, (x.shape[0], self.n_in))

    def _misfit(self, x: Array) -> str:
        name, n = f"Affine{self.tag}", self.n_in
        if x.ndim < 2:
            return f"{name}: x has shape {tuple(x.shape)}, expected (N, {n}); one sample is x.reshape(1, -1)"
        advice = "; flatten one sample with x.reshape(1, -1)" if prod(x.shape) == n else ""
        columns = f"{x.shape[1]} columns" if x.ndim == 2 else f"{tuple(x.shape[1:])} elements a sample"
        return f"{name}: x has {columns}, W{self.tag} expects {n}{advice}"

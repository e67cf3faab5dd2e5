"""The derivatives of everything that is recorded: a file for each kind of function, which fill one table."""

from xpnet.graph.rules import elementwise, fft, linalg, matrices, reductions, shapes

__all__ = ["elementwise", "fft", "linalg", "matrices", "reductions", "shapes"]

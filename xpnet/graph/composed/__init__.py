"""Functions that are made of recorded ones, in every recording namespace by their names."""

from xpnet.graph.composed import (
    creation,
    einsum,
    fft,
    linalg,
    older,
    options,
    pieces,
    polynomials,
    questions,
    standard,
    statistics,
)

__all__ = [
    "creation",
    "einsum",
    "fft",
    "linalg",
    "older",
    "options",
    "pieces",
    "polynomials",
    "questions",
    "standard",
    "statistics",
]

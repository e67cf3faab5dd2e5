"""Einstein sums for every library, by transposes and products of matrices, two operands at a time."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from math import prod
from typing import Any

from xpnet._typing import Array
from xpnet.graph.composed.linalg import ordered
from xpnet.graph.recording import Recording, composed


@composed("einsum")
def einsum(xp: Recording, subscripts: Any, *operands: Any, **options: Any) -> Array:
    """Sums of products, as ``einsum("ij,jk->ik", a, b)``, with ``...`` for axes that are broadcast.

    Raises:
        ValueError: subscripts that do not go with the shapes.
    """
    if options.keys() - {"optimize", "order", "dtype", "casting"} and options.get("out") is not None:
        raise TypeError("einsum would write into an array, which cannot be recorded")
    terms, wanted, arrays = _read(subscripts, operands)
    sizes = _sizes(terms, arrays)
    parts = [_plain(xp, term, x, sizes) for term, x in zip(terms, arrays, strict=True)]
    (labels, found), *rest = parts
    for k, (term, x) in enumerate(rest):
        later = {*wanted, *(label for other, _ in rest[k + 1 :] for label in other)}
        labels, found = _multiplied(xp, (labels, found), (term, x), later)
    gone = tuple(i for i, label in enumerate(labels) if label not in wanted)
    found = xp.sum(found, axis=gone) if gone else found
    left = [label for label in labels if label in wanted]
    return ordered(xp, found, tuple(left.index(label) for label in wanted)) if left else found


def _read(subscripts: Any, operands: tuple[Any, ...]) -> tuple[list[list[Any]], list[Any], list[Any]]:
    """The labels of each operand and of the result, and the operands; ``...`` stands as labels of its own."""
    if isinstance(subscripts, str):
        left, arrow, right = subscripts.replace(" ", "").partition("->")
        texts, arrays = left.split(","), list(operands)
        given: list[Any] = [_split(text) for text in texts]
        out = _split(right) if arrow else None
    else:  # operands and lists of labels in turn
        every = [subscripts, *operands]
        arrays, given = every[: len(every) // 2 * 2 : 2], [list(part) for part in every[1::2]]
        out = list(every[-1]) if len(every) % 2 else None
    if len(given) != len(arrays):
        raise ValueError(f"einsum has subscripts for {len(given)} operands, and got {len(arrays)}")
    spread = max((x.ndim - len(term) + 1 for term, x in zip(given, arrays, strict=True) if ... in term), default=0)
    terms = [_without_dots(term, x.ndim - len(term) + 1, spread) for term, x in zip(given, arrays, strict=True)]
    for term, x in zip(terms, arrays, strict=True):
        if len(term) != x.ndim:
            raise ValueError(f"einsum has {len(term)} subscripts for an array of shape {tuple(x.shape)}")
    if out is None:
        often = Counter(label for term in given for label in term if label is not ...)
        out = [*([...] if spread else []), *sorted(label for label, count in often.items() if count == 1)]
    wanted = _without_dots(out, spread, spread)
    unknown = [label for label in wanted if not any(label in term for term in terms)]
    if unknown or len(set(wanted)) < len(wanted):
        raise ValueError(f"einsum has a result of {wanted}, which are not each a subscript of an operand, once")
    return terms, wanted, arrays


def _split(text: str) -> list[Any]:
    before, dots, after = text.partition("...")
    return [*before, *([...] if dots else []), *after]


def _without_dots(term: list[Any], count: int, spread: int) -> list[Any]:
    if ... not in term:
        return term
    k = term.index(...)
    return [*term[:k], *((..., i) for i in range(spread - count, spread)), *term[k + 1 :]]


def _sizes(terms: Iterable[list[Any]], arrays: list[Any]) -> dict[Any, int]:
    sizes: dict[Any, int] = {}
    for term, x in zip(terms, arrays, strict=True):
        for label, n in zip(term, x.shape, strict=True):
            if sizes.get(label, 1) == 1:
                sizes[label] = n
            elif n not in (1, sizes[label]):
                raise ValueError(f"einsum has lengths {sizes[label]} and {n} for the subscript {label}")
    return sizes


def _plain(xp: Recording, term: list[Any], x: Array, sizes: dict[Any, int]) -> tuple[list[Any], Array]:
    """An operand in which no label comes twice, and in full length."""
    shape = tuple(sizes[label] for label in term)
    x = x if shape == tuple(x.shape) else xp.broadcast_to(x, shape)
    while len(set(term)) < len(term):
        twice = next(label for label in term if term.count(label) > 1)
        i, j = [k for k, label in enumerate(term) if label == twice][:2]
        rest = [k for k in range(len(term)) if k not in (i, j)]
        x = xp.linalg.diagonal(ordered(xp, x, (*rest, i, j)))
        term = [*(term[k] for k in rest), twice]
    return term, x


def _multiplied(xp: Recording, left: Any, right: Any, later: set[Any]) -> tuple[list[Any], Array]:
    """Two operands as one: summed over what only they have."""
    (a, x), (b, y) = (_summed(xp, mine, other[0], later) for mine, other in ((left, right), (right, left)))
    stack = [label for label in a if label in b and label in later]
    over = [label for label in a if label in b and label not in later]
    rows, columns = [label for label in a if label not in b], [label for label in b if label not in a]
    x = ordered(xp, x, tuple(a.index(label) for label in (*stack, *rows, *over)))
    y = ordered(xp, y, tuple(b.index(label) for label in (*stack, *over, *columns)))
    outer = tuple(x.shape[: len(stack)])
    height, width = tuple(x.shape[len(stack) : len(stack) + len(rows)]), tuple(y.shape[len(stack) + len(over) :])
    if not over:
        x = xp.reshape(x, (*outer, *height, *[1] * len(width))) if width else x
        y = xp.reshape(y, (*outer, *[1] * len(height), *width)) if height else y
        return [*stack, *rows, *columns], x * y
    n = prod(x.shape[len(stack) + len(rows) :])
    product = xp.matmul(_shaped(xp, x, (*outer, prod(height), n)), _shaped(xp, y, (*outer, n, prod(width))))
    return [*stack, *rows, *columns], _shaped(xp, product, (*outer, *height, *width))


def _shaped(xp: Recording, x: Array, shape: tuple[int, ...]) -> Array:
    return x if tuple(x.shape) == shape else xp.reshape(x, shape)


def _summed(xp: Recording, mine: Any, other: list[Any], later: set[Any]) -> tuple[list[Any], Array]:
    """Summed over labels that nobody else has."""
    term, x = mine
    gone = tuple(i for i, label in enumerate(term) if label not in other and label not in later)
    return ([label for i, label in enumerate(term) if i not in gone], xp.sum(x, axis=gone)) if gone else mine

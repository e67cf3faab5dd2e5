"""The same step in fewer and cheaper calls, equal but for rounding."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np

from xpnet.backends.replay.program import TRANSPOSED, Call, Program, Ref, uniform

#: Rows at most so long are added up, or searched for their maximum, faster across than along.
SHORT = 64
#: A product of so many terms at most is added up in one go; more are added in pairs, which rounds less.
FEW = 2**16


def simplified(program: Program) -> Program:
    """The program with constants as numbers, factors where they cost least, and short sums as products."""
    _numbers(program)
    _without_dead_calls(program)
    _factors_after(program)
    _factors_before(program)
    _factors_placed(program)
    _dots(program)
    _short_rows(program)
    _without_dead_calls(program)
    return program


def _numbers(program: Program) -> None:
    """Numbers and arrays of one number become arrays without axes, in the dtype that they are computed in."""
    for call in program.calls:
        if not isinstance(call.function, np.ufunc) or not call.elementwise:
            continue
        arrays = [ref for ref in call.read() if not _uniform(ref)]
        if not arrays or np.broadcast_shapes(*(ref.shape for ref in arrays)) != call.out.shape:
            continue
        dtype = arrays[0].dtype
        if dtype.kind == "f" and all(ref.dtype == dtype for ref in call.read()):
            # maximum and minimum are several times faster with two whole arrays
            shape = call.out.shape if call.function in (np.maximum, np.minimum) else ()
            call.operands = tuple(_number(x, shape, dtype) for x in call.operands)
            _multiply_instead(call)


def _number(x: Any, shape: tuple[int, ...], dtype: np.dtype[Any]) -> Any:
    if isinstance(x, int | float):
        return uniform(x, shape, dtype)
    return uniform(x.constant.flat[0], shape, dtype) if _uniform(x) else x


def _multiply_instead(call: Call) -> None:
    """Dividing an array by a number takes longer than multiplying it."""
    if call.function is not np.divide or not call.out.shape or not _uniform(call.operands[1]):
        return
    array, number = call.operands
    divisor, limits = float(number.constant.flat[0]), np.finfo(number.dtype)
    if divisor and limits.tiny <= abs(1 / divisor) <= limits.max:
        call.name, call.function = "multiply", np.multiply
        call.operands = array, uniform(1 / divisor, (), number.dtype)


def _uniform(x: Any) -> bool:
    """Whether it is a constant of the step's own, of one number."""
    if not isinstance(x, Ref) or x.constant is None or not x.folds or not x.size:
        return False
    return bool((x.constant == x.constant.flat[0]).all())


def _without_dead_calls(program: Program) -> None:
    """Leave out what nobody reads."""
    wanted, kept = {program.loss.root}, []
    for call in reversed(program.calls):
        root = call.out.root
        if root in wanted or root.given is not None:
            wanted |= {ref.root for ref in call.read()}
            kept.append(call)
    program.calls = kept[::-1]


def _scaling(call: Call) -> tuple[Ref, Ref] | None:
    """What the call multiplies, and by which number."""
    if call.function is not np.multiply or call.out in call.operands or call.out.dtype.kind != "f":
        return None
    if not all(isinstance(x, Ref) and x.dtype == call.out.dtype for x in call.operands):
        return None
    for array, number in (call.operands, call.operands[::-1]):
        if array.shape == call.out.shape and array.shape and not number.shape:
            return array, number
    return None


def _factors_after(program: Program) -> None:
    """A product of matrices that is only there to be multiplied by a number takes the number in."""
    calls, readers, writers = program.calls, program.readers(), program.writers()
    for call in list(calls):
        found = _scaling(call)
        if found is None:
            continue
        product, number = found
        made_by = writers.get(product, [])
        if len(made_by) != 1 or made_by[0].name != "matmul" or readers[product] != [call]:
            continue
        (matmul,) = made_by
        between = calls[calls.index(matmul) + 1 : calls.index(call)]
        if {ref.root for ref in matmul.read()} & {other.out.root for other in between}:
            continue
        calls.remove(matmul)
        factors = [*matmul.options.get("factors", []), number]
        calls[calls.index(call)] = replace(matmul, out=call.out, options={"factors": factors})


def _factors_before(program: Program) -> None:
    """An array that is multiplied by a number, and then only by matrices, leaves the number to the products."""
    calls, readers, writers = program.calls, program.readers(), program.writers()
    for call in list(calls):
        found = _scaling(call)
        if found is None or not call.out.made or writers[call.out.root] != [call]:
            continue
        array, number = found
        products = readers.get(call.out, [])
        if not products or any(reader.name != "matmul" for reader in products):
            continue
        if any(ref.root is call.out and not _as_it_is(ref, call.out) for product in products for ref in product.read()):
            continue
        cost = sum(min(product.out.size, *(ref.size for ref in product.read())) for product in products)
        later = calls[calls.index(call) :]
        if cost >= array.size or any(other.out.root in (array.root, number.root) for other in later):
            continue
        for product in products:
            count = sum(ref.root is call.out for ref in product.read())
            product.operands = tuple(_on(ref, call.out, array) for ref in product.operands)
            product.options = {"factors": [*product.options.get("factors", []), *[number] * count]}
        calls.remove(call)


def _as_it_is(ref: Ref, array: Ref) -> bool:
    """Whether it is the array itself or the array turned: views that any other array of its shape has, too."""
    return ref is array or (ref.base is array and ref.how == TRANSPOSED)


def _on(ref: Ref, old: Ref, new: Ref) -> Ref:
    """The same view of another array."""
    if ref is old:
        return new
    return ref if ref.base is None else replace(ref, base=_on(ref.base, old, new))


def _factors_placed(program: Program) -> None:
    """Multiply the smallest of the matrices by the factors of their product."""
    calls = []
    for call in program.calls:
        factors = call.options.pop("factors", []) if call.name == "matmul" else []
        fixed = [factor for factor in factors if factor.constant is not None and factor.folds]
        rest = [factor for factor in factors if factor not in fixed]
        if fixed:
            rest.append(uniform(float(np.prod([float(f.constant) for f in fixed])), (), call.out.dtype))
        alike = [ref for ref in call.read() if ref.dtype == call.out.dtype] if rest else []
        smallest = min((call.out, *alike), key=lambda ref: ref.size)
        if smallest is call.out:
            calls.append(call)
            calls += [_multiplied(call.out, factor, call.out) for factor in rest]
            continue
        scaled = smallest
        for factor in rest:
            place = scaled if scaled is not smallest else Ref(smallest.shape, smallest.dtype)
            calls.append(_multiplied(scaled, factor, place))
            scaled = place
        operands = [scaled if ref is smallest else ref for ref in call.operands]
        if call.operands[0] is call.operands[1]:
            operands[1] = smallest
        calls.append(replace(call, operands=tuple(operands)))
    program.calls = calls


def _multiplied(ref: Ref, factor: Ref, out: Ref) -> Call:
    return Call("multiply", (ref, factor), out, {}, np.multiply, elementwise=True)


def _dots(program: Program) -> None:
    """The sum of all elements of a product is a product of two vectors."""
    readers, writers = program.readers(), program.writers()
    for i, call in enumerate(program.calls):
        if call.name != "sum" or len(call.operands) > 1 or call.options.get("axis") is not None or call.out.shape:
            continue
        (terms,) = call.operands
        made_by = writers.get(terms, [])
        if len(made_by) != 1 or made_by[0].name != "multiply" or readers[terms] != [call]:
            continue
        if terms.size > FEW or terms.dtype != call.out.dtype:
            continue
        factors = made_by[0].operands
        between = program.calls[program.calls.index(made_by[0]) : i]
        if not all(isinstance(f, Ref) and _plain(f) and f.shape == terms.shape for f in factors):
            continue
        if {f.root for f in factors} & {other.out.root for other in between}:
            continue
        flat = tuple(Ref((f.size,), f.dtype, base=f, view=lambda a: a.reshape(-1)) for f in factors)
        program.calls[i] = Call("matmul", flat, call.out)
    _without_dead_calls(program)


def _short_rows(program: Program) -> None:
    """Sums of short rows, and of columns, are products with ones; the largest of short rows are found across."""
    calls = []
    for call in program.calls:
        axis = call.options.get("axis", call.operands[1] if len(call.operands) > 1 else None)
        x = call.operands[0] if call.operands else None
        rewrite = REDUCTIONS.get(call.name)
        if rewrite is None or not isinstance(x, Ref) or not _plain(x) or x.dtype != call.out.dtype:
            calls.append(call)
            continue
        calls += rewrite(call, x, axis)
    program.calls = calls


def _sum(call: Call, x: Ref, axis: Any) -> list[Call]:
    rows, columns = x.shape
    if axis == 0:
        return [Call("matmul", (_ones(rows, x.dtype), x), _flat(call.out))]
    if axis in (1, -1) and columns <= SHORT:
        return [Call("matmul", (x, _ones(columns, x.dtype)), _flat(call.out))]
    return [call]


def _max(call: Call, x: Ref, axis: Any) -> list[Call]:
    rows, columns = x.shape
    if axis not in (1, -1) or columns > SHORT or rows < columns:
        return [call]
    across = Ref((columns, rows), x.dtype)
    turned = Ref(across.shape, x.dtype, base=x, view=lambda a: a.T)
    return [
        Call("copy", (turned,), across),
        Call("max", (across,), _flat(call.out), {"axis": 0}),
    ]


REDUCTIONS: dict[str, Callable[[Call, Ref, Any], list[Call]]] = {"sum": _sum, "max": _max}


def _plain(ref: Ref) -> bool:
    """Whether it is a whole matrix of floating-point numbers, row after row."""
    return ref.base is None and len(ref.shape) == 2 and ref.dtype.kind == "f" and ref.size > 0


def _flat(ref: Ref) -> Ref:
    """The place as one row, whether it kept the axis that was reduced or not."""
    return ref if len(ref.shape) == 1 else Ref((ref.size,), ref.dtype, base=ref, view=lambda a: a.reshape(-1))


def _ones(n: int, dtype: np.dtype[Any]) -> Ref:
    return Ref((n,), dtype, constant=np.ones(n, dtype), folds=True)

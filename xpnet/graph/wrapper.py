"""The node of a graph, and what an array of the standard has besides its operators."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from math import prod
from types import ModuleType
from typing import Any, ClassVar, TypeVar

from xpnet._checks import whole
from xpnet._typing import Array
from xpnet.backends.dispatch import device, dtype_name, host_number
from xpnet.graph.methods import IN_PLACE, method
from xpnet.graph.operations import Operation, is_complex


@dataclass(frozen=True, eq=False)
class Group:
    """What operations have in common that a picture shows as one box."""

    name: str


#: The group that is being recorded.
current: ContextVar[Group | None] = ContextVar("xpnet_graph_group", default=None)


@contextmanager
def group(name: str) -> Iterator[None]:
    """What is recorded inside of such a ``with`` block is drawn as one box of this name.

    Of groups inside each other the outer one counts.

    Raises:
        TypeError: a name that is no text.
    """
    if not isinstance(name, str):
        raise TypeError(f"the name of a group is {name!r:.80}, expected text, 'Affine1' for example")
    token = current.set(current.get() or Group(name))
    try:
        yield
    finally:
        current.reset(token)


NUMBERS = (bool, int, float, complex)
NOTHING: Mapping[str, Any] = {}

#: What methods of other libraries' arrays are here.
INSTEAD = {
    **dict.fromkeys(("item", "tolist", "numpy", "data", "cpu"), "; v.value is its array, and float(v) a number"),
    **dict.fromkeys(("detach", "clone"), "; constant(v) is its value, cut off from what it was computed from"),
    "requires_grad": "; v.differentiable says whether there are derivatives with respect to it",
    "zero_grad": "; each backward() replaces the gradients",
}

_count = itertools.count(1)

#: While grad() runs a function: the number of the first variable that this one is to be differentiated through.
first_inside: ContextVar[int | None] = ContextVar("xpnet_graph_first_inside", default=None)


class Wrapper:
    """An array around another one, its ``value``, with its place in a graph; see :class:`Variable`.

    Attributes:
        library: the namespace of the value.
        xp: the namespace of what wraps such a value: functions that record.
        serial: numbers rise as nodes are made, so that operands come before results.
        group: what the node is drawn with.
        note: what is known of numbers on their way out of the graph and into it; see ``taken.py``.
    """

    __slots__ = (
        "__weakref__",
        "_name",
        "differentiable",
        "grad",
        "group",
        "inputs",
        "note",
        "operation",
        "options",
        "serial",
        "value",
    )

    __array_priority__ = 1000.0  # arrays of some libraries ask for it before they take over an operator
    library: ClassVar[ModuleType]
    xp: ClassVar[ModuleType]

    value: Array
    grad: Any
    note: Any
    operation: Operation | None
    inputs: tuple[Any, ...]
    options: Mapping[str, Any]
    differentiable: bool
    serial: int
    group: Group | None

    @property
    def name(self) -> str | None:
        return self._name

    @name.setter
    def name(self, name: str | None) -> None:
        self._name = check_name(name)

    @property
    def shape(self) -> tuple[int, ...]:
        return tuple(self.value.shape)

    @property
    def ndim(self) -> int:
        return len(self.value.shape)

    @property
    def size(self) -> int:
        return prod(self.value.shape)

    @property
    def dtype(self) -> Any:
        return self.value.dtype

    @property
    def device(self) -> Any:
        return device(self.value)

    def __array_namespace__(self, api_version: str | None = None) -> ModuleType:
        return self.xp

    def __setitem__(self, key: Any, value: Any) -> None:
        raise TypeError(
            "a variable cannot be assigned into: its old value may be needed to find derivatives; "
            "make a new one with where(condition, a, b), concat or stack"
        )

    def __delitem__(self, key: Any) -> None:
        raise TypeError("a variable cannot be taken apart with del; a slice of it is a new one")

    def __len__(self) -> int:
        if not self.ndim:
            raise TypeError(
                "a variable without axes has no length, and no array is made of it by asking for its entries, as "
                "functions of other libraries do; v.value is its array, float(v) its number"
            )
        return self.shape[0]

    def __bool__(self) -> bool:
        return bool(self.value)

    def __index__(self) -> int:
        found = whole(self.value)
        if found is None:
            raise TypeError(
                f"an integer is needed here, an index or the end of a slice or range, and this variable has shape "
                f"{self.shape} and dtype {dtype_name(self.dtype)}; int(v) is the integer before the point"
            )
        return found

    def __reduce__(self) -> Any:
        raise TypeError("a variable is neither pickled nor copied, as its graph would be cut; v.value is its array")

    def __format__(self, spec: str) -> str:
        if spec and self.shape and spec[-1] in "eEfFgGn%":
            raise TypeError(f"the format {spec!r} is for one number, and this has shape {self.shape}")
        if not spec or self.shape:
            return format(str(self), spec)
        integer = whole(self.value)
        return format(float(self.value) if integer is None else integer, spec)

    def __round__(self, places: int | None = None) -> Any:
        raise TypeError(
            "round(v) would be a number without a derivative; f'{v:.3f}' shows a rounded one, and what is recorded is "
            "namespace(v).round(v), whose derivative is zero"
        )

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> Any:
        if not self.differentiable and self.shape:
            found = self.value.__array__(*([] if dtype is None else [dtype]))  # as its library does, or refuses to
            return found.copy() if copy else found
        if self.value.shape or dtype is not None:
            raise TypeError(
                "a variable is not converted to an array by itself, since the graph would end there; v.value is one, "
                "and a list of variables is put together by namespace(v).stack([v, w])"
            )
        box = host_number(0.0).astype(object)  # one object, so that a list of them is an array of objects
        box.reshape(1)[0] = self
        return box

    def __dlpack__(
        self,
        *,
        stream: Any = None,
        max_version: tuple[int, int] | None = None,
        dl_device: Any = None,
        copy: bool | None = None,
    ) -> Any:
        if self.differentiable:
            raise BufferError("a variable is not exported, since the graph would end there; v.value is its array")
        given = {"stream": stream, "max_version": max_version, "dl_device": dl_device, "copy": copy}
        return self.value.__dlpack__(**{name: option for name, option in given.items() if option is not None})

    def __dlpack_device__(self) -> Any:
        return self.value.__dlpack_device__()

    @property
    def real(self) -> Any:
        return self.xp.real(self) if is_complex(self.library, self.dtype) else self

    @property
    def imag(self) -> Any:
        return self.xp.imag(self) if is_complex(self.library, self.dtype) else self.xp.zeros_like(self)

    def to_device(self, device: Any, /, *, stream: Any = None) -> Any:
        """The same values on another device of the library; the gradient comes back."""
        return self if device == self.device else self.xp.moved(self, device)

    def __array_ufunc__(self, ufunc: Any, method: str, *inputs: Any, **options: Any) -> Any:
        if not options and method == "__call__":
            found = self.xp.called.get(ufunc)
            if found is not None:
                return found(*inputs)
        if "out" in options:
            raise TypeError(
                f"{ufunc.__name__} would write into an array, which cannot be recorded; for a += v write a = a + v"
            )
        if method != "__call__":
            raise TypeError(f"{ufunc.__name__}.{method} is not recorded; write it with functions of namespace(v)")
        return self.xp.like(ufunc)(*inputs, **options)

    def __array_function__(self, function: Any, types: Any, inputs: Any, options: Any) -> Any:
        return self.xp.like(function)(*inputs, **options)

    def __getattr__(self, name: str) -> Any:
        found = None if name.startswith("_") else method(self, name)
        if found is not None:
            return found
        hint = INSTEAD.get(name, "")
        if name in IN_PLACE:
            hint = "; a variable is not written into, and functions make a new one: namespace(v).sort(v), for example"
        elif not hint and not name.startswith("_") and callable(getattr(self.xp, name, None)):
            hint = f"; the namespace has a function: namespace(v).{name}(v)"
        raise AttributeError(f"a variable has no attribute {name!r}{hint}", name=name, obj=self)


def check_name(name: Any) -> str | None:
    """The name as it is; a ``TypeError`` unless it is text or None."""
    if name is not None and not isinstance(name, str):
        raise TypeError(f"name is {name!r:.80}, expected text, 'W1' for example")
    return name


#: Types and dtypes of arrays that nothing has to be asked of.
_plain = set[tuple[type, Any]]()


def check_operand(x: Any) -> bool:
    """Raise ``TypeError`` for an array that its own library records; say whether it is one of objects."""
    kind = (type(x), getattr(x, "dtype", None))
    if kind in _plain:
        return False
    if getattr(x, "requires_grad", False):
        raise TypeError("this array is recorded by its own library too (requires_grad is set); give x.detach()")
    if kind[1] is not None and dtype_name(kind[1]) == "object":
        return True
    if kind[1] is not None and not hasattr(x, "requires_grad"):
        _plain.add(kind)
    return False


def now() -> int:
    """A serial number between those of the nodes before and those of the nodes to come."""
    return next(_count)


Made = TypeVar("Made", bound=Wrapper)


def node(
    kind: type[Made],
    value: Array,
    differentiable: bool = False,
    name: str | None = None,
    operation: Operation | None = None,
    inputs: tuple[Any, ...] = (),
    options: Mapping[str, Any] = NOTHING,
) -> Made:
    """A new node around a value; without an operation it is where a value comes in."""
    v = object.__new__(kind)
    v.value = value
    v._name = name
    v.differentiable = differentiable
    v.operation = operation
    v.inputs = inputs
    v.options = options
    v.grad = v.note = None
    v.group = current.get()
    v.serial = next(_count)
    return v

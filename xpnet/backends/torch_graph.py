"""Steps of PyTorch on CUDA as graphs: a step is captured once, and is one launch from then on.

What a small step takes on a GPU is the host's time for its launches. A graph has one, and is captured from the step as
it runs uncompiled: its numbers are the same to the last bit, and it is there at once, where ``torch.compile`` takes
half a minute for a little less work on the device.

A graph reads and writes the addresses that it was captured with. So there is memory of its own for the state, for the
rows and draws of as many steps as a block may have, for their losses, and for the number of the step; of the data it
takes the address as it is. A block is one upload, a launch for each step, and one read.
"""

from __future__ import annotations

from types import ModuleType
from typing import Any

import numpy as np

from xpnet._typing import Array, Params, State
from xpnet.backends.base import Backend, Block, CompiledStep, Data, PlainStep, Step
from xpnet.backends.trees import check_alike, leaves, names, rebuilt
from xpnet.errors import CompileWarning
from xpnet.streams import warn

#: The most steps whose rows are uploaded together: those of the longest block of a training loop, if they fit.
CAPACITY, UPLOAD_BYTES = 256, 2**26
#: How many graphs are kept: of the sizes of batches, and the data, that were used last.
MOST_GRAPHS = 16


class CapturedStep(CompiledStep):
    """One step as a CUDA graph, for each size of a batch and for the data at their address.

    What cannot be captured, as it reads a value or copies from the host, runs as it is after one
    :class:`CompileWarning`; the state is as it was before.

    Args:
        step: the step.
        backend: PyTorch's, on a CUDA device.
        cuda: ``torch.cuda``, or what stands for it where there is no GPU.
    """

    def __init__(self, step: Step, backend: Backend, cuda: Any = None) -> None:
        self.step, self.backend, self.torch = step, backend, backend.library()
        self.cuda = self.torch.cuda if cuda is None else cuda
        self.failed, self.graphs = False, dict[Any, Graph]()
        self.stream: Any = None
        self.pool: Any = None

    def run(self, state: State, data: Data, block: Block) -> tuple[State, np.ndarray]:
        with self.cuda.device(self.backend.device):
            graph = self._graph(state, data, block)
            if graph is None:
                return PlainStep(self.step, self.backend).run(state, data, block)
            return graph.run(state, block)

    def _graph(self, state: State, data: Data, block: Block) -> Graph | None:
        """The graph for arrays of these shapes and these data; None if there can be none."""
        if self.failed:
            return None
        forms = _form(state), _form(data, placed=True), _form(block.draws, rows=True)
        key = (*forms, block.rows.shape[1:], self.backend.tf32)  # a graph keeps the kernels of its time
        if key not in self.graphs:
            try:
                self.graphs[key] = self._captured(state, data, block)
            except Exception as error:  # whatever goes wrong, training can go on without it
                self.failed, self.graphs = True, {}
                warn(_uncaptured(error), CompileWarning, stacklevel=2)
                return None
            if len(self.graphs) > MOST_GRAPHS:
                del self.graphs[next(iter(self.graphs))]
        self.graphs[key] = self.graphs.pop(key)  # the last one used is the last one
        return self.graphs[key]

    def _captured(self, state: State, data: Data, block: Block) -> Graph:
        if self.stream is None:
            self.stream, self.pool = self.cuda.Stream(), self.cuda.graph_pool_handle()
        return Graph(self, state, data, block)


class Graph:
    """A captured step, and the memory that it reads and writes."""

    def __init__(self, owner: CapturedStep, state: State, data: Data, block: Block) -> None:
        self.torch, self.step, backend = owner.torch, owner.step, owner.backend
        self.backend, self.state = backend, [backend.copy(a) for a in leaves(state)]
        self.form = rebuilt(state, iter(self.state))
        a_step = block.rows[0].nbytes + sum(drawn[0].nbytes for drawn in block.draws.values())
        self.capacity = max(1, min(CAPACITY, UPLOAD_BYTES // max(1, a_step)))
        self.rows = self._room(backend.asarray(block.rows[:1]))
        self.draws = {name: self._room(backend.asarray(drawn[:1])) for name, drawn in block.draws.items()}
        self._upload(block, slice(0, 1))
        self.number = self.torch.zeros(1, dtype=self.torch.int64, device=backend.device)
        cuda, stream, numbers = owner.cuda, owner.stream, numbers_on_device(self.torch)
        stream.wait_stream(cuda.current_stream())
        with cuda.stream(stream), numbers:
            # once before: libraries load kernels and take memory at their first call, which no capture allows
            loss = self._take(self.state, data)
        cuda.current_stream().wait_stream(stream)
        self.losses = self.torch.empty((self.capacity, *loss.shape), dtype=loss.dtype, device=loss.device)
        self._note(loss)
        self.graph = cuda.CUDAGraph()
        options = {"pool": owner.pool, "stream": stream, "capture_error_mode": "thread_local"}
        with cuda.graph(self.graph, **options), numbers:
            self._note(self._take(self.state, data))

    def run(self, state: State, block: Block) -> tuple[State, np.ndarray]:
        """The steps of a block; the state stays in the arrays of the caller, who keeps them."""
        found, given = [], leaves(state)
        _copy(given, self.state)
        for start in range(0, len(block.rows), self.capacity):
            here = slice(start, start + self.capacity)
            count = self._upload(block, here)
            self.number.zero_()
            for _ in range(count):
                self.graph.replay()
            found.append(np.array(self.backend.to_numpy(self.losses[:count])))
        _copy(self.state, given)
        return state, np.concatenate(found)

    def _upload(self, block: Block, here: slice) -> int:
        """Rows and draws of some steps to where they are read; returns of how many."""
        rows = self.backend.asarray(block.rows[here])
        self.rows[: len(rows)].copy_(rows)
        for name, room in self.draws.items():
            room[: len(rows)].copy_(self.backend.asarray(block.draws[name][here]))
        return len(rows)

    def _take(self, state: list[Array], data: Data) -> Array:
        """The step of this number, and its loss."""
        rows, draws = self._one(self.rows), {name: self._one(room) for name, room in self.draws.items()}
        after, loss = self.step(rebuilt(self.form, iter(state)), data, rows, draws)
        check_alike(self.form, after)
        _put(state, leaves(after))
        return loss

    def _note(self, loss: Array) -> None:
        self.losses.index_copy_(0, self.number, loss[None, ...])
        self.number += 1

    def _one(self, room: Array) -> Array:
        return room.index_select(0, self.number)[0, ...]

    def _room(self, first: Array) -> Array:
        """Memory for as many steps as are uploaded together."""
        shape = (self.capacity, *first.shape[1:])
        return self.torch.zeros(shape, dtype=first.dtype, device=first.device)


def numbers_on_device(torch: ModuleType) -> Any:
    """In this block a number becomes an array where it shall be, and not on the host first, from which it is copied.

    A capture refuses such copies. array-api-compat makes arrays of the numbers that functions of two arrays are given,
    and assigns one through a mask in its ``sign``.
    """
    makers = (torch.asarray, torch.tensor, torch.as_tensor)

    class Mode(torch.overrides.TorchFunctionMode):  # type: ignore[misc, name-defined]
        def __torch_function__(self, function: Any, types: Any, args: Any = (), options: Any = None) -> Any:
            options = dict(options or {})
            if function in makers and len(args) == 1 and isinstance(args[0], bool | int | float):
                return torch.full((), args[0], **{k: v for k, v in options.items() if k != "copy"})
            if function is torch.Tensor.__setitem__ and isinstance(args[2], int | float):
                x, mask, value = args
                if getattr(mask, "dtype", None) == torch.bool:
                    return x.masked_fill_(mask, value)
            return function(*args, **options)

    return Mode()


def _form(tree: Params | State, *, placed: bool = False, rows: bool = False) -> Any:
    """What a graph depends on of these arrays: names, shapes and dtypes, and where they lie."""
    start = 1 if rows else 0  # of draws a block has some for each step
    arrays = tuple((tuple(a.shape[start:]), a.dtype) for a in leaves(tree))
    return names(tree), arrays, tuple((a.data_ptr(), a.stride()) for a in leaves(tree)) if placed else None


def _copy(source: list[Array], target: list[Array]) -> None:
    for a, b in zip(source, target, strict=True):
        b.copy_(a)


def _put(old: list[Array], new: list[Array]) -> None:
    """New values into the memory of the old ones, which some of them may lie in already, in each other's place too."""
    places = {a.untyped_storage().data_ptr() for a in old}
    moved = [(a, b) for a, b in zip(old, new, strict=True) if a.data_ptr() != b.data_ptr() or a.stride() != b.stride()]
    safe = [b.clone() if b.untyped_storage().data_ptr() in places else b for _, b in moved]
    _copy(safe, [a for a, _ in moved])


def _uncaptured(error: BaseException) -> str:
    while error.__context__ is not None:  # the end of a capture that failed is an error, too
        error = error.__context__
    what = (str(error).strip() or "no message").splitlines()[0]
    return (
        f"the step could not be captured as a CUDA graph, {type(error).__name__}: {what}; steps run call by call. It "
        "may read no values and take no arrays from the host; Trainer(..., compile=False) does not ask for it"
    )

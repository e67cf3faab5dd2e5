"""Which calls become one kernel: those that compute arrays of one shape entry by entry.

A call joins the last kernel of its shape if it may be made as early: if nothing that is called in between reads or
writes what it writes, or writes what it reads. What is used within a kernel alone is never written to memory.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field

from xpnet.backends.captured.source import kernel_source, writable_in_source
from xpnet.backends.replay.program import Call, Program, Ref

#: How many places the calls of a kernel read and write at most: its arguments, 32 to 48 bytes for each place that is
#: read and again for each that is written, have to fit 4 KiB.
MOST_PLACES = 40
FUSED = "fused"


@dataclass(eq=False)
class Fused(Call):
    """Several calls as one kernel: ``operands`` are what it is given, ``outs`` what it writes, entry by entry.

    Attributes:
        source: what it computes, in CUDA's C++.
    """

    outs: tuple[Ref, ...] = ()
    source: str = ""

    def written(self) -> Iterator[Ref]:
        yield from self.outs


@dataclass(eq=False)
class _Group:
    """Calls in order, and what they touch."""

    calls: list[Call] = field(default_factory=list)
    reads: set[Ref] = field(default_factory=set)
    writes: set[Ref] = field(default_factory=set)

    def __post_init__(self) -> None:
        self.read_roots: set[Ref] = set()
        self.written_roots: set[Ref] = set()

    def add(self, call: Call) -> None:
        self.calls.append(call)
        self.reads.update(call.read())
        self.writes.update(call.written())
        self.read_roots, self.written_roots = _roots(self.reads), _roots(self.writes)

    @property
    def touched(self) -> set[Ref]:
        return self.read_roots | self.written_roots

    def apart(self, call: Call) -> bool:
        """Whether it does not matter which comes first."""
        reads, writes = _roots(call.read()), _roots(call.written())
        return not (writes & self.touched or reads & self.written_roots)

    def takes(self, call: Call) -> bool:
        """Whether a call may be in the same kernel: what both touch is the same entry of the same array."""
        if call.out.shape != self.calls[0].out.shape:
            return False
        reads, writes = set(call.read()), set(call.written())
        if len(self.reads | self.writes | reads | writes) > MOST_PLACES:
            return False
        alike = all(ref in self.writes for ref in reads | writes if ref.root in self.written_roots)
        return alike and all(ref in self.reads for ref in writes if ref.root in self.read_roots)


def fused(program: Program) -> Program:
    """The program with calls that go entry by entry as few kernels."""
    groups: list[_Group] = []
    for call in program.calls:
        _place(call, groups)
    last = {root: i for i, group in enumerate(groups) for root in group.touched} | {program.loss.root: len(groups)}
    calls = []
    for i, group in enumerate(groups):
        if not writable_in_source(group.calls[0]):
            calls += group.calls
            continue
        written = dict.fromkeys(ref for call in group.calls for ref in call.written())
        outs = tuple(ref for ref in written if ref.root.given or last[ref.root] > i)
        if outs:
            source, inputs = kernel_source(group.calls, outs)
            calls.append(Fused(FUSED, inputs, outs[0], outs=outs, source=source))
    return Program(calls, program.given, program.loss)


def _place(call: Call, groups: list[_Group]) -> None:
    """Put a call into a group that is there, or one of its own."""
    for group in reversed(groups) if writable_in_source(call) else ():
        if writable_in_source(group.calls[0]) and group.takes(call):
            group.add(call)
            return
        if not group.apart(call):
            break
    groups.append(_Group())
    groups[-1].add(call)


def _roots(refs: Iterable[Ref]) -> set[Ref]:
    return {ref.root for ref in refs}

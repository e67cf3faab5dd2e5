"""Functions of the host are called in their order, however many threads there are."""

import numpy as np

from xpnet.backends.replay.program import THROUGH, Call, Program, Ref
from xpnet.backends.replay.regions import shared_out


def test_small_messages_do_not_overtake_large_ones():
    """Other processes, which may have one thread, wait for the large one first."""
    dtype = np.dtype("float64")
    a, b, x, loss = Ref((300, 300), dtype), Ref((3,), dtype), Ref((2000, 2000), dtype), Ref((), dtype)
    given = {("state", str(i)): ref for i, ref in enumerate((a, b, x))}
    calls = [
        Call("multiply", (x, 2.0), x, function=np.multiply, elementwise=True),
        Call(THROUGH, (a,), Ref(a.shape, dtype)),
        Call(THROUGH, (b,), Ref(b.shape, dtype)),
        Call("sum", (b,), loss),
    ]
    arrays = {}

    def find(ref):
        return arrays.setdefault(ref, np.zeros(ref.shape)) if isinstance(ref, Ref) else ref

    phases = shared_out(Program(calls, given, loss), find, 2, [Ref((0,), np.dtype(np.uint8))])
    assert phases is not None
    assert [call for phase in phases for call in phase[0] if call.name == THROUGH] == calls[1:3]

"""Ctrl-C, held back until a moment at which stopping loses nothing."""

from __future__ import annotations

import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType


@contextmanager
def deferred_interrupt() -> Iterator[Callable[[], bool]]:
    """Remember a Ctrl-C instead of raising; the block asks for it, and KeyboardInterrupt is raised at the block's end.

    A second Ctrl-C does not wait. Only the main thread receives signals: elsewhere, and where somebody handles Ctrl-C
    in a way of their own, nothing is changed.
    """
    received = False

    def remember(_number: int, _frame: FrameType | None) -> None:
        nonlocal received
        received = True
        signal.signal(signal.SIGINT, signal.default_int_handler)

    in_main = threading.current_thread() is threading.main_thread()
    if not in_main or signal.getsignal(signal.SIGINT) is not signal.default_int_handler:
        yield lambda: False
        return
    signal.signal(signal.SIGINT, remember)
    try:
        yield lambda: received
    finally:
        signal.signal(signal.SIGINT, signal.default_int_handler)
    if received:
        raise KeyboardInterrupt

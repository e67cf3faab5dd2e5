"""A command that is one of several processes: the first one speaks, and what fails in one ends all of them."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, redirect_stderr, redirect_stdout

import click

from xpnet.backends.dispatch import Backend, get_backend
from xpnet.cli.common import errors_in_one_line
from xpnet.parallel import Parallel, ParallelError, as_parallel
from xpnet.parallel.mpi import launched, launched_first


@contextmanager
def processes(asked: str | None) -> Iterator[Parallel]:
    """Those that train together: asked for, or started by mpiexec; all enter this block, and leave it together."""
    try:
        with errors_in_one_line():
            parallel = as_parallel(asked or ("mpi" if launched() > 1 else None))
    except click.ClickException:
        if launched_first():
            raise
        raise SystemExit(1) from None
    with ExitStack() as silence:
        if not parallel.leads:
            nowhere = silence.enter_context(open(os.devnull, "w", encoding="utf-8"))  # noqa: PTH123
            silence.enter_context(redirect_stdout(nowhere))
            silence.enter_context(redirect_stderr(nowhere))
        try:
            with parallel.together():
                yield parallel
        except ParallelError as error:
            raise click.ClickException(str(error)) from error
        except Exception:
            if parallel.leads:
                raise
            raise SystemExit(1) from None  # the first process tells of it


def own_device(backend: Backend, asked: str | None, parallel: Parallel) -> Backend:
    """The backend on the GPU of this process, where each of those on a machine is to have one of its own."""
    kind = backend.device_name.partition(":")[0]
    if parallel.size == 1 or kind == "cpu" or ":" in (asked or ""):
        return backend
    alike = [name for name in backend.devices() if name.partition(":")[0] == kind]
    return get_backend(backend.name, alike[parallel.place_here % len(alike)])

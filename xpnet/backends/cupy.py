"""CuPy: CUDA GPUs.

In CuPy each thread has a device that is current, where kernels run, and they run on arrays of that device alone. Who
has a network need not know: its device is current while it computes, in every thread, and so it is in a Trainer, in
gradients and in metrics. Other functions of arrays compute as CuPy's own do, on the device that the user has made
current: ``with net.backend.current(): ...``.

The steps of a Trainer are captured as CUDA graphs (``captured/``); ``Trainer(compile=False)`` takes them call by call.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from types import ModuleType
from typing import Any

import numpy as np

from xpnet._typing import Array, State
from xpnet.backends.base import Backend, BackendUnavailableError, CompiledStep, Result, Step, name_of
from xpnet.backends.captured import CapturedStep
from xpnet.backends.cupy_namespace import cupy_namespace
from xpnet.backends.replay.tracer import Tracer

#: cudaErrorNoDevice: there is a driver, and no GPU that it shows.
NO_DEVICE = 100
#: CuPy's numbers for how float32 is multiplied: as it is, and in TF32.
DEFAULT, TF32 = 1, 7


class CupyBackend(Backend):
    name = "cupy"
    packages = ("cupy",)
    in_place = True
    half_dtypes = ("float16",)  # bfloat16 is experimental in CuPy 14, and products of stacks of it fail
    install = 'pip install "xpnet[cuda13]" for a CUDA 13 driver, "xpnet[cuda12]" for CUDA 12'
    special_module = "cupyx.scipy.special"

    @classmethod
    def namespace(cls) -> ModuleType:
        return cupy_namespace()

    @classmethod
    def devices(cls) -> tuple[str, ...]:
        cuda = cls.library().cuda
        runtime = cuda.runtime
        if runtime.driverGetVersion() == 0:
            raise BackendUnavailableError(
                "backend 'cupy': CuPy is installed, but there is no NVIDIA driver here; "
                "install the driver of your GPU (nvidia-smi then lists it), or use backend 'numpy'"
            )
        try:
            count = runtime.getDeviceCount()
        except runtime.CUDARuntimeError as error:
            if getattr(error, "status", None) != NO_DEVICE:
                raise BackendUnavailableError(
                    f"backend 'cupy': CUDA answered {error}. CuPy needs CUDA {_dotted(runtime.runtimeGetVersion())}, "
                    f"the driver here gives {_dotted(runtime.driverGetVersion())}; update the driver, or {cls.install}"
                ) from error
            count = 0
        if count == 0:
            raise BackendUnavailableError(
                "backend 'cupy': the NVIDIA driver is here, but it shows no GPU; look at nvidia-smi and at the "
                "environment variable CUDA_VISIBLE_DEVICES"
            )
        _check_toolkit(cuda, cls.install)
        return tuple(f"cuda:{i}" for i in range(count))

    @classmethod
    def find_device(cls, device: Any) -> Any:
        """Accept ``"cuda:1"``, ``1`` or a ``cupy.cuda.Device``; None and ``"cuda"`` are the one that is current."""
        known, cuda = cls.devices(), cls.library().cuda
        if device is None or (isinstance(device, str) and device == "cuda"):
            return cuda.Device()
        wanted = f"cuda:{str(getattr(device, 'id', device)).removeprefix('cuda:')}"
        return cuda.Device(known.index(wanted)) if wanted in known else super().find_device(device)

    @staticmethod
    def label(device: Any) -> str:
        return f"cuda:{device.id}"

    @property
    def tf32(self) -> bool | str | None:
        """CuPy's own choice is not to, unless the environment variable CUPY_TF32 is 1."""
        core: Any = getattr(self.library(), "_core", None)  # no part of its interface, so it may not be there
        if not hasattr(core, "set_compute_type") or int(self.device.compute_capability) < 80:
            return None
        return bool(core.get_compute_type(np.float32) == TF32)

    @contextmanager
    def with_tf32(self, on: bool | None) -> Iterator[None]:
        if on is None or self.tf32 is None:
            yield
            return
        core = self.library()._core
        before = core.get_compute_type(np.float32)
        core.set_compute_type(np.float32, TF32 if on else DEFAULT)
        try:
            yield
        finally:
            core.set_compute_type(np.float32, before)

    def current(self) -> AbstractContextManager[Any]:
        return _entered(self.device)  # type: ignore[no-any-return]

    def here(self, function: Callable[..., Result]) -> Callable[..., Result]:
        @functools.wraps(function)
        def placed(*args: Any, **options: Any) -> Result:
            with self.current():
                return function(*args, **options)

        return placed

    @staticmethod
    def beside(x: Array) -> AbstractContextManager[Any]:
        return nullcontext() if x.device is None else _entered(x.device)  # None while a step is recorded

    def regained(self, tree: State) -> State:
        def back(v: Any) -> Any:
            return self.regained(v) if isinstance(v, dict) else self.asarray(v) if name_of(v) == self.name else v

        return {name: back(v) for name, v in tree.items()}

    @staticmethod
    def to_host(x: Array) -> np.ndarray:
        return CupyBackend.library().asnumpy(x)  # type: ignore[no-any-return]

    def copy(self, x: Array) -> Array:
        return self.xp.asarray(x, copy=True, order="C")

    @staticmethod
    def add_at(x: Array, index: Array, rows: Array) -> Array:
        library = np if isinstance(x, Tracer) else CupyBackend.library()  # steps are recorded on the host
        library.add.at(x, index, rows)
        return x

    @property
    def captures(self) -> bool:
        return True

    def compile(self, step: Step) -> CompiledStep:
        return CapturedStep(step, self)

    def synchronize(self) -> None:
        _entered(self.device).synchronize()


def _entered(device: Any) -> Any:
    """A device to enter: one of its own, since it notes on itself which one was current, for whatever thread enters."""
    return CupyBackend.library().cuda.Device(device.id)


@functools.cache  # of those that have all
def _check_toolkit(cuda: ModuleType, install: str) -> None:
    """Raise unless kernels can be compiled and matrices multiplied: CuPy loads what it takes when it is needed."""
    library = "NVRTC"
    try:
        cuda.nvrtc.getVersion()
        library = "cuBLAS"
        getattr(cuda, "cublas", None)
    except (ImportError, OSError, RuntimeError) as error:
        reason = (str(error).strip() or type(error).__name__).splitlines()[0]
        raise BackendUnavailableError(
            f"backend 'cupy': CuPy is installed without {library} of the CUDA toolkit, and computes nothing without it "
            f"({reason}); {install}"
        ) from error


def _dotted(version: int) -> str:
    """CUDA's own encoding of a version, 13020, as people write it: 13.2."""
    return f"{version // 1000}.{version % 1000 // 10}"


BACKEND = CupyBackend

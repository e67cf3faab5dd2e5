"""Whether a file computes what the network does: both are asked about the same samples."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, NamedTuple

import numpy as np

from xpnet.backends.dispatch import dtype_name
from xpnet.functions import softmax
from xpnet.layers import Rescale
from xpnet.layers.chain import first_leaves
from xpnet.onnx.planning import Plan
from xpnet.onnx.samples import first_computing
from xpnet.onnx.writer import ExportError

#: How many samples there are in a batch: one, and more than one, so that no length stands in the file.
BATCHES = (1, 2, 7)
#: How far results may be apart, as a share of how far they are apart from sample to sample. In float32 another order of
#: sums gives a hundredth of it, and the wrong one of the two forms of GELU several times as much; weights rounded to
#: float16 give a tenth. In float64 it is not less, as numbers in nodes, a slope or an eps, are float32 in every file.
TOLERANCE = {"float64": 1e-6, "float32": 1e-4, "float16": 1e-2}
#: How many units in the last place of the largest result they may be apart besides.
ROUNDING = 8


#: Gives the results of samples, (N, ...) each.
Run = Callable[[np.ndarray], np.ndarray]


class Seen(NamedTuple):
    """The largest difference between two results, the largest result, and what computed the file's."""

    difference: float
    largest: float
    runtime: str


def verified(data: bytes, plan: Plan) -> Seen:
    """Compare a file with the network on batches of random samples.

    Raises:
        ExportError: they do not agree, or onnxruntime cannot compute the file.
    """
    run, name = _session(data, plan)
    rng, difference, largest = np.random.default_rng(0), 0.0, 0.0
    for shape in plan.shapes:
        wanted, given = _results(run, plan, shape, rng)
        apart, most = float(np.abs(given - wanted).max()), float(np.abs(wanted).max())
        rounding = ROUNDING * float(np.finfo(plan.dtype).eps)
        allowed = TOLERANCE[plan.dtype] * float(np.ptp(wanted, axis=0).max()) + rounding * most
        if not apart <= allowed:
            advice = "; numbers inside may be too large or too small for float16" if plan.dtype == "float16" else ""
            raise ExportError(
                f"{name} and the network are up to {apart:.2g} apart, in results up to {most:.2g}, and more than "
                f"{allowed:.2g} is no rounding; nothing was written{advice}"
            )
        difference, largest = max(difference, apart), max(largest, most)
    return Seen(difference, largest, name)


def _results(run: Run, plan: Plan, shape: tuple[int, ...], rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """What the network gives for samples of this shape, and what the file does."""
    wanted, given = [], []
    for n in BATCHES:
        x = _samples(plan, rng, (n, *shape))
        wanted.append(_expected(plan, x))
        given.append(run(x))
        if given[-1].shape != wanted[-1].shape:
            raise ExportError(
                f"for samples {x.shape} the file gives results {given[-1].shape}, expected {wanted[-1].shape}; nothing "
                "was written"
            )
        if not np.isfinite(wanted[-1]).all():
            raise ExportError(
                "the file cannot be verified: for samples of N(0, 1) the network itself gives NaN or infinity; "
                "verify=False writes it as it is"
            )
    return np.concatenate(wanted), np.concatenate(given)


def runtime(*, needed: bool = True) -> Any:
    """The module onnxruntime; where it is missing an error, or None if it is not needed."""
    try:
        import onnxruntime
    except ImportError as error:
        if not needed:
            return None
        raise ImportError(
            f'verify=True compares with onnxruntime, which is missing ({error}); pip install "xpnet[onnx]"'
        ) from error
    return onnxruntime


def _session(data: bytes, plan: Plan) -> tuple[Run, str]:
    """A function that computes the file, and the name of what does it."""
    onnxruntime = runtime()
    name = f"onnxruntime {onnxruntime.__version__}"
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4  # what goes wrong is raised
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    with _errors_of(name, plan):
        session = onnxruntime.InferenceSession(data, options, providers=["CPUExecutionProvider"])

    def run(samples: np.ndarray) -> np.ndarray:
        with _errors_of(name, plan):
            found: np.ndarray = session.run(None, {plan.names[0]: samples})[0]
            return found

    return run, name


@contextmanager
def _errors_of(name: str, plan: Plan) -> Iterator[None]:
    """What a runtime raises, as an error that says what to do."""
    try:
        yield
    except Exception as error:  # those of onnxruntime have no other base
        why, advice = str(error).rpartition(" : ")[2].strip().splitlines()[0], ""
        if "NOT_IMPLEMENTED" in str(error) and plan.dtype != "float32":
            advice = f", which has few operators in {plan.dtype}; write the file with dtype='float32'"
        raise ExportError(f"{name} cannot compute the file: {why:.400}{advice}, or with verify=False") from error


def _samples(plan: Plan, rng: np.random.Generator, shape: tuple[int, ...]) -> np.ndarray:
    """Random samples as the file takes them."""
    if plan.input == "uint8":
        return rng.integers(0, 256, shape, "uint8")
    if plan.input == "int64":
        return rng.integers(0, min(getattr(layer, "n", 2) for _, layer in first_leaves(plan.net.chain)), shape, "int64")
    first, most = first_computing(plan.net.chain), float(np.finfo(plan.input).max)
    scale = first.scale if isinstance(first, Rescale) else 1.0  # so that what is rescaled is N(0, 1)
    return np.clip(rng.normal(size=shape) / (scale or 1.0), -most, most).astype(plan.input)


def _expected(plan: Plan, x: np.ndarray) -> np.ndarray:
    """What the network gives for samples of the file, on its own backend."""
    net = plan.net
    if plan.input != "int64":
        x = x.astype(dtype_name(net.dtype))
        x = x / 255 if plan.divides else x
    scores = net.backend.to_numpy(net.predict(net.backend.asarray(x)))
    found: np.ndarray = softmax(scores) if plan.softmax else scores
    return found

"""Whether a file computes what the network does: both are asked about the same samples."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from typing import Any, NamedTuple

import numpy as np
from onnx import ModelProto, ValueInfoProto

from xpnet.backends.dispatch import dtype_name
from xpnet.functions import softmax
from xpnet.layers import Rescale
from xpnet.layers.chain import first_leaves
from xpnet.onnx.planning import Plan
from xpnet.onnx.samples import beginnings
from xpnet.onnx.writer import ExportError

#: How many samples there are in a batch: one, and more than one, so that no length stands in the file.
BATCHES = (1, 2, 7)
#: How far results in float32 may be apart, in the largest error that NumPy's own have in float32. Another order of sums
#: and another tanh give up to five of it, the wrong one of the two forms of GELU mostly thousands.
ERRORS = 16
#: How many units in the last place of the largest result they may be apart besides.
ROUNDING = 8
#: The first of the two where no such error is known, as a share of how far results are apart from sample to sample.
#: Weights rounded to float16 give a tenth of it. In float64 it is not less, as numbers in nodes, a slope or an eps, are
#: float32 in every file.
TOLERANCE = {"float64": 1e-6, "float32": 1e-4, "float16": 1e-2}

#: Gives what is made of samples, (N, ...): results, or probabilities and the scores that they are of.
Run = Callable[[np.ndarray], Sequence[np.ndarray]]
#: One output, of each batch.
Batches = Sequence[np.ndarray]


class Seen(NamedTuple):
    """The largest difference between two results, the largest result, and what computed the file's."""

    difference: float
    largest: float
    runtime: str


def verified(data: bytes, plan: Plan) -> Seen:
    """Compare a file with the network on batches of random samples.

    The network is computed in float64, and in float32 to see what rounding does to it. Besides probabilities their
    scores are compared: where these are large, all probabilities are 0 or 1, also those of wrong scores.

    Raises:
        ExportError: they do not agree, or onnxruntime cannot compute the file.
    """
    run, name = _session(_with_scores(data) if plan.softmax else data, plan)
    rng, seen, (exact, single) = np.random.default_rng(0), list[tuple[float, float]](), _references(plan)
    for shape in plan.shapes:
        batches = [_samples(plan, rng, (n, *shape)) for n in BATCHES]
        wanted, given = _outputs(exact, batches), _outputs(run, batches)
        rounded = [None] * len(wanted) if single is None else _outputs(single, batches)
        compared = [_compared(*each, name, plan) for each in zip(given, wanted, rounded, strict=True)]
        seen.append(compared[0])
    return Seen(max(apart for apart, _ in seen), max(most for _, most in seen), name)


def _outputs(run: Run, batches: Sequence[np.ndarray]) -> list[tuple[np.ndarray, ...]]:
    """Each output, of all batches."""
    return list(zip(*map(run, batches), strict=True))


def _compared(given: Batches, wanted: Batches, rounded: Batches | None, name: str, plan: Plan) -> tuple[float, float]:
    """How far an output of the file is from what is wanted, which float32 gives ``rounded``; and the largest number.

    Raises:
        ExportError: that is no rounding.
    """
    for y, right in zip(given, wanted, strict=True):
        if y.shape != right.shape:
            raise ExportError(
                f"for {len(right)} samples the file gives results {y.shape}, expected {right.shape}; nothing was "
                "written"
            )
    if not all(np.isfinite(y).all() for y in (*wanted, *(rounded or ()))):
        raise ExportError(
            "the file cannot be verified: for samples of N(0, 1) the network itself gives NaN or infinity; "
            "verify=False writes it as it is"
        )
    apart, most = _apart(given, wanted), max(float(np.abs(y).max()) for y in wanted)
    allowed = ROUNDING * float(np.finfo(plan.dtype).eps) * most
    if rounded is None:
        allowed += TOLERANCE[plan.dtype] * float(np.ptp(np.concatenate(wanted), axis=0).max())
    else:
        allowed += ERRORS * _apart(rounded, wanted)
    if not apart <= allowed:
        advice = "; numbers inside may be too large or too small for float16" if plan.dtype == "float16" else ""
        raise ExportError(
            f"{name} and the network are up to {apart:.2g} apart, in results up to {most:.2g}, and more than "
            f"{allowed:.2g} is no rounding; nothing was written{advice}"
        )
    return apart, most


def _apart(some: Batches, others: Batches) -> float:
    """The largest difference, or NaN if one is."""
    return float(np.max([np.abs(a - b).max() for a, b in zip(some, others, strict=True)]))


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

    def run(samples: np.ndarray) -> Sequence[np.ndarray]:
        with _errors_of(name, plan):
            return session.run(None, {plan.names[0]: samples})  # type: ignore[no-any-return]

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
    first, most = beginnings(plan.net.chain)[0], float(np.finfo(plan.input).max)
    scale = first.scale if isinstance(first, Rescale) else 1.0  # so that what is rescaled is N(0, 1)
    return np.clip(rng.normal(size=shape) / (scale or 1.0), -most, most).astype(plan.input)


def _with_scores(data: bytes) -> bytes:
    """The file with another output: what its softmax at the end is given."""
    model = ModelProto.FromString(data)
    model.graph.output.append(ValueInfoProto(name=model.graph.node[-1].input[0]))
    return model.SerializeToString()  # type: ignore[no-any-return]


def _references(plan: Plan) -> tuple[Run, Run | None]:
    """The network in float64, and for a file of float32 in that too; as it is, if it is none that NumPy can compute."""
    try:
        exact, single = (partial(_expected, plan, _on_host(plan.net, dtype)) for dtype in ("float64", "float32"))
        for each in (exact, single):
            each(_samples(plan, np.random.default_rng(0), (1, *plan.shapes[0])))
    except Exception:  # whatever a layer of somebody's own, for another library, raises
        return partial(_expected, plan, plan.net), None
    return exact, single if plan.dtype == "float32" else None


def _on_host(net: Any, dtype: str) -> Any:
    """The network by NumPy, in this dtype: no faster and less exact product of another backend is in its results."""
    other = net.to("numpy")
    other.dtype = other.backend.dtype(dtype)
    other.take_arrays(other.from_host({name: net.backend.to_numpy(a) for name, a in net.own_arrays().items()}))
    return other


def _expected(plan: Plan, net: Any, x: np.ndarray) -> Sequence[np.ndarray]:
    """What a network gives for samples of the file, on its own backend."""
    if plan.input != "int64":
        x = x.astype(dtype_name(net.dtype))
        x = x / 255 if plan.divides else x
    scores = net.backend.to_numpy(net.predict(net.backend.asarray(x)))
    return (softmax(scores), scores) if plan.softmax else (scores,)

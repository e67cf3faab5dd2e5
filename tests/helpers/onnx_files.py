"""Files of ONNX as others read them: what they compute, by two implementations, and what they say of themselves."""

from __future__ import annotations


def run(path, x):
    """What onnxruntime computes of samples."""
    return by_runtime(path)(x)


def by_runtime(path):
    """The function in a file, as onnxruntime has it."""
    import onnxruntime

    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    return lambda x: session.run(None, {"x": x})[0]


def by_reference(path):
    """The same as the implementation in onnx itself has it: every operator in every dtype."""
    from onnx.reference import ReferenceEvaluator

    evaluator = ReferenceEvaluator(str(path))
    return lambda x: evaluator.run(None, {"x": x})[0]


def metadata(path):
    """The texts in a file, by name."""
    import onnx

    return {entry.key: entry.value for entry in onnx.load(path).metadata_props}

"""Networks as ONNX files."""

try:
    from onnx import checker  # noqa: F401
except ImportError as error:
    raise ImportError(f'xpnet.onnx needs onnx 1.17 or newer ({error}); pip install "xpnet[onnx]"') from error

from xpnet.onnx import rules  # noqa: F401  (registers them)
from xpnet.onnx.exporting import Exported, export
from xpnet.onnx.writer import ExportError, Place, rule

__all__ = ["ExportError", "Exported", "Place", "export", "rule"]

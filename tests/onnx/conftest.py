from __future__ import annotations

import pytest


@pytest.fixture
def path(tmp_path):
    """Where a file may be written."""
    return tmp_path / "net.onnx"

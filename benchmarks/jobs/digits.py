"""What scripts of other libraries have in common: MNIST, the settings, the lines they print, the files they write."""

from __future__ import annotations

import gzip
import json
import sys
from pathlib import Path

import numpy as np

DATA = Path(__file__).parents[2] / "xpnet" / "datasets" / "data"
ITERATIONS, BATCH, LR, HIDDEN, SEED = 10_000, 100, 0.1, 50, 0


def mnist() -> list[tuple[np.ndarray, np.ndarray]]:
    """Images (N, 784) from 0 to 1 in float32 and labels (N,), to train on and to test on."""
    return [
        (_read(f"{part}-images-idx3", 16).reshape(-1, 784).astype(np.float32) / 255, _read(f"{part}-labels-idx1", 8))
        for part in ("train", "t10k")
    ]


def _read(name: str, header: int) -> np.ndarray:
    content = gzip.decompress((DATA / f"{name}-ubyte.gz").read_bytes())
    return np.frombuffer(bytearray(content), np.uint8, offset=header)  # which may be written to, as PyTorch wants it


def iterations() -> int:
    return int(sys.argv[2]) if len(sys.argv) > 2 else ITERATIONS


def epochs(samples: int):
    """Rows of the minibatches of each epoch (K, B), until there are enough."""
    rng, left = np.random.default_rng(SEED), iterations()
    while left > 0:
        rows = rng.permutation(samples)[: samples // BATCH * BATCH].reshape(-1, BATCH)[:left]
        left -= len(rows)
        yield rows


def tell(iteration: int, *values: float) -> None:
    """A line an evaluation: losses and accuracies of training and test data."""
    print(iteration, " ".join(f"{value:.4f}" for value in values), flush=True)


def save(losses: list[float], **weights: np.ndarray) -> None:
    """Files in the folder that the command line names."""
    folder = Path(sys.argv[1])
    folder.mkdir(parents=True, exist_ok=True)
    np.savez(folder / "weights.npz", **weights)
    (folder / "history.json").write_text(json.dumps(losses))

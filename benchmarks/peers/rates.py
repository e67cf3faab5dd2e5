"""How fast each library multiplies float32 matrices on a device: a line of JSON, GFLOP/s or the reason for none.

python benchmarks/peers/rates.py cuda cupy torch jax
"""

from __future__ import annotations

import json
import sys

from xpnet.backends.dispatch import get_backend
from xpnet.throughput import device_model, matrix_rate


def rate(name: str, device: str) -> dict[str, object]:
    try:
        backend = get_backend(name, device)
        return {"device": device_model(backend), "GFLOP/s": round(matrix_rate(backend), 1)}
    except Exception as error:  # a library may fail in a way of its own, and the others are asked all the same
        return {"failure": (str(error).strip() or type(error).__name__).splitlines()[0]}


if __name__ == "__main__":
    device, *names = sys.argv[1:]
    print(json.dumps({name: rate(name, device) for name in names}))

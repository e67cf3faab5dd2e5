"""Several devices of JAX / JAXの複数のデバイスで
==============================================

One training on four devices of JAX, and on one: the same losses.

``python examples/jax_devices.py``

A CPU is made four devices here; on a machine with several GPUs leave XLA_FLAGS as it is, and they are taken.
"""

import argparse
import os
from importlib.util import find_spec

import numpy as np

from xpnet import Adam, MultiLayerNet, Trainer, backend_names

parser = argparse.ArgumentParser(description=(__doc__ or "").partition(" / ")[0])
parser.add_argument("--backend", choices=backend_names(), default="jax")
parser.add_argument("--iterations", type=int, default=100)
args = parser.parse_args()
if args.backend != "jax" or find_spec("jax") is None:
    print(f"skipped: devices of JAX need --backend jax, not {args.backend}, and pip install jax")
    raise SystemExit
os.environ.setdefault("XLA_FLAGS", "--xla_force_host_platform_device_count=4")  # before JAX is imported

rng = np.random.default_rng(0)
x = rng.normal(size=(1001, 20)).astype("float32")
t = np.argmax(x[:, :4] + 0.3 * rng.normal(size=(1001, 4)), axis=1)

losses = {}
for parallel in (None, "jax"):
    net = MultiLayerNet(20, [50, 50], 4, dropout=0.1, seed=0, backend="jax")
    trainer = Trainer(net, Adam(), batch_size=100, seed=0, parallel=parallel)
    data = net.backend.asarray(x), net.backend.asarray(t)
    history = trainer.fit(*data, iterations=args.iterations, progress=False)
    losses[parallel] = np.asarray(history.losses)
    print(f"parallel={parallel!r}: loss {losses[parallel][-1]:.6f}, accuracy {net.accuracy(*data):.2%}")
print(f"losses differ by at most {np.max(np.abs(losses['jax'] / losses[None] - 1)):.0e} of themselves")

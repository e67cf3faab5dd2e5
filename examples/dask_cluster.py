"""A cluster of Dask / Daskのクラスターで
======================================

Evaluate on a cluster, and train by gradients of all samples, chunk by chunk.

``python examples/dask_cluster.py``

The cluster here is two processes on this machine; Client("tcp://scheduler:8786") is a larger one. Data are made where
they are needed; da.from_zarr and dask.dataframe read them there.
"""

import argparse
from importlib.util import find_spec

import numpy as np

from xpnet import Momentum, TwoLayerNet, backend_names

parser = argparse.ArgumentParser(description=(__doc__ or "").partition(" / ")[0])
parser.add_argument("--backend", choices=backend_names(), default="numpy", help="what it trains on (numpy)")
parser.add_argument("--samples", type=int, default=40_000)
parser.add_argument("--epochs", type=int, default=20)
args = parser.parse_args()


def main():
    import dask
    import dask.array as da
    from dask.distributed import Client, LocalCluster

    with LocalCluster(n_workers=2, threads_per_worker=1, dashboard_address=None) as cluster, Client(cluster):
        x = da.random.default_rng(0).normal(size=(args.samples, 20), chunks=(10_000, 20)).astype("float32")
        t = da.argmax(x[:, :4], axis=1)
        net, optimizer = TwoLayerNet(20, 30, 4, seed=0), Momentum(lr=0.5)
        for epoch in range(1, args.epochs + 1):
            spread = net.to("dask")
            # one pass over the data gives both; what comes back is as small as the network
            loss, grads = dask.compute(*spread.value_and_grad(spread.params, x, t))
            optimizer.update(net.params, grads)
            if epoch % 5 == 0:
                print(f"epoch {epoch:2}: loss {float(loss):.4f}")
        spread = net.to("dask")
        print(f"accuracy {spread.accuracy(x, t):.2%} of {args.samples:,} samples")
        scores = spread.predict(x)  # nothing is computed yet
        print(f"scores {scores.shape} in {scores.npartitions} chunks, the first: {np.round(scores[0].compute(), 2)}")


if __name__ == "__main__":  # the processes of the cluster import this file
    if args.backend != "numpy" or find_spec("dask") is None or find_spec("distributed") is None:
        print(f'skipped: clusters need --backend numpy, not {args.backend}, and pip install "dask[array,distributed]"')
    else:
        main()

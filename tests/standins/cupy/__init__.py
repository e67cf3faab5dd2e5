"""No CuPy: a stand-in over NumPy for tests on machines without a GPU.

It is found where the folder that it is in is on the path, and nowhere else:

    PYTHONPATH=tests/standins pytest --backend cupy --device cuda:1

What CuPy refuses it refuses, in CuPy's words: arrays of NumPy among its own, turning its arrays into NumPy's
unasked, its 0-d arrays as Python indices, the parts of NumPy's interface that it lacks. There are two devices without
access to each other's memory; each thread has a current one, where results and new arrays are, and whatever reads an
array of another raises. ``cuda.waits`` counts what the host waits for, ``cuda.launches`` what it asks a device for.
Reductions give 0-d arrays, and indices out of range wrap around.

A stream that is captured notes its calls, and a graph makes them again. While it is captured nothing has values, the
host may not wait, CuPy's cuBLAS is refused, and what is moved from the host is too, as it is elsewhere later. A graph
refuses to run in memory that was given back. An ``ElementwiseKernel`` is read as C++, and computed by NumPy; there is a
cuBLAS for ``ctypes``, which checks the arguments of C.

What it cannot show: kernels and how long they and their compilation take, cuBLAS and rounding on a GPU, dtypes that
kernels lack, memory running out, errors that arrive late, streams that run side by side, so that one may read too early
what another computes, and what CuPy computes otherwise than NumPy.
"""

import numpy as np

from cupy import cuda  # noqa: F401
from cupy._arrays import array, asarray, asnumpy, can_cast, fill, ndarray, result_type, take  # noqa: F401
from cupy._kernels import ElementwiseKernel  # noqa: F401

__version__ = f"stand-in over NumPy {np.__version__}"

bool, dtype, newaxis = np.bool_, np.dtype, None  # noqa: A001
broadcast_shapes, finfo, iinfo, isdtype = np.broadcast_shapes, np.finfo, np.iinfo, np.isdtype
issubdtype, promote_types = np.issubdtype, np.promote_types
fill(globals(), np)

from cupy import fft, linalg  # noqa: E402, F401

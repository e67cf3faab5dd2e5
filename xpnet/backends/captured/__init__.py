"""Steps of CuPy as CUDA graphs: recorded on the host, fused, and launched as one.

A GPU does the work of a small step in a few microseconds, and the host takes some ten for each kernel that it asks for.
A CUDA graph is a list of kernels that the device goes through by itself, so that the host asks once a step. On the way
there a step is

- recorded without a device, from shapes and dtypes alone (``outlines.py``): the program of ``xpnet.backends.replay``;
- rewritten in simpler calls (``simpler.py``), and for blocks: it finds its minibatch by a counter on the device, and
  leaves its loss beside the others (``blocks.py``);
- fused: what is computed entry by entry becomes few kernels (``groups.py``) in CUDA's C++ (``source.py``);
- launched once to try, captured, and launched for each step of a block (``step.py``): calls of CuPy (``launches.py``)
  and products by cuBLAS (``blas.py``), since CuPy refuses its own while it captures.
"""

from xpnet.backends.captured.step import CapturedStep

__all__ = ["CapturedStep"]

"""Checks for those who write layers, optimizers and backends: the ones that xpnet's own parts go through.

>>> from xpnet.layers import Affine
>>> check_layer(Affine(3, 2), (4, 3), backends=["numpy"])
[]
"""

from xpnet.testing.backends import check_backend
from xpnet.testing.layers import check_layer
from xpnet.testing.optimizers import check_optimizer

__all__ = ["check_backend", "check_layer", "check_optimizer"]

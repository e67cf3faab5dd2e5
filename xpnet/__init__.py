"""xpnet: neural networks written once against the Python Array API standard, for whatever array they are given.

>>> from xpnet import SGD, TwoLayerNet, Trainer
>>> from xpnet.datasets import mnist
>>> (x_train, t_train), (x_test, t_test) = mnist()
>>> net = TwoLayerNet(784, 50, 10, seed=0)
>>> history = Trainer(net, SGD(lr=0.1), batch_size=100, seed=0).fit(x_train, t_train, iterations=200)
>>> net.accuracy(x_test, t_test) > 0.7
True
"""

from xpnet import book, datasets, functions, gradient, graph, initializers, layers, losses, optimizers, plotting
from xpnet.backend import Backend, BackendUnavailableError, backend_names, get_backend, namespace, use_backend
from xpnet.errors import DivergedError
from xpnet.gradient import check_gradient, gradient_descent, numerical_gradient
from xpnet.history import Evaluation, History
from xpnet.models import MultiLayerNet, Sequential, TwoLayerNet
from xpnet.optimizers import SGD
from xpnet.training import Trainer, make_step

__version__ = "0.1.0"

__all__ = [
    "SGD",
    "Backend",
    "BackendUnavailableError",
    "DivergedError",
    "Evaluation",
    "History",
    "MultiLayerNet",
    "Sequential",
    "Trainer",
    "TwoLayerNet",
    "backend_names",
    "book",
    "check_gradient",
    "datasets",
    "functions",
    "get_backend",
    "gradient",
    "gradient_descent",
    "graph",
    "initializers",
    "layers",
    "losses",
    "make_step",
    "namespace",
    "numerical_gradient",
    "optimizers",
    "plotting",
    "use_backend",
]

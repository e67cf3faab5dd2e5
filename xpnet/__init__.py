"""xpnet: neural networks written once against the Python Array API standard, for whatever array they are given.

>>> from xpnet import SGD, TwoLayerNet, Trainer
>>> from xpnet.datasets import mnist
>>> (x_train, t_train), (x_test, t_test) = mnist()
>>> net = TwoLayerNet(784, 50, 10, seed=0)
>>> history = Trainer(net, SGD(lr=0.1), batch_size=100, seed=0).fit(x_train, t_train, iterations=200)
>>> net.accuracy(x_test, t_test) > 0.7
True
"""

from typing import TYPE_CHECKING

from xpnet._later import later

if TYPE_CHECKING:
    from xpnet import (
        book,
        datasets,
        functions,
        gradient,
        graph,
        initializers,
        layers,
        losses,
        metrics,
        optimizers,
        plotting,
        schedules,
        training,
    )
    from xpnet.backends.dispatch import (
        Backend,
        BackendUnavailableError,
        backend_names,
        get_backend,
        namespace,
        use_backend,
    )
    from xpnet.errors import CheckpointError, CompileWarning, DivergedError
    from xpnet.gradient import check_gradient, gradient_descent, numerical_gradient
    from xpnet.models import (
        DeepConvNet,
        MultiLayerNet,
        ResNet,
        Sequential,
        SimpleConvNet,
        TwoLayerNet,
        half,
        load_network,
        load_onnx,
    )
    from xpnet.optimizers import SGD, Adam, AdamW, Momentum
    from xpnet.sweeping.sweep import sweep
    from xpnet.training import Evaluation, History, Trainer, make_step
else:
    __getattr__, __dir__ = later(
        __name__,
        {
            "backends.dispatch": "Backend BackendUnavailableError backend_names get_backend namespace use_backend",
            "errors": "CheckpointError CompileWarning DivergedError",
            "gradient": "check_gradient gradient_descent numerical_gradient",
            "models": "DeepConvNet MultiLayerNet ResNet Sequential SimpleConvNet TwoLayerNet half load_network "
            "load_onnx",
            "optimizers": "SGD Adam AdamW Momentum",
            "sweeping": "sweep",
            "training": "Evaluation History Trainer make_step",
        },
        modules="book datasets functions gradient graph initializers layers losses metrics optimizers plotting "
        "schedules training",
    )

__version__ = "0.2.0"

__all__ = [
    "SGD",
    "Adam",
    "AdamW",
    "Backend",
    "BackendUnavailableError",
    "CheckpointError",
    "CompileWarning",
    "DeepConvNet",
    "DivergedError",
    "Evaluation",
    "History",
    "Momentum",
    "MultiLayerNet",
    "ResNet",
    "Sequential",
    "SimpleConvNet",
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
    "half",
    "initializers",
    "layers",
    "load_network",
    "load_onnx",
    "losses",
    "make_step",
    "metrics",
    "namespace",
    "numerical_gradient",
    "optimizers",
    "plotting",
    "schedules",
    "sweep",
    "training",
    "use_backend",
]

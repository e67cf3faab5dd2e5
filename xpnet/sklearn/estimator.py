"""What the classifier and the regressor share: their parameters, and training by :class:`xpnet.Trainer`."""

from __future__ import annotations

import warnings
from abc import abstractmethod
from collections.abc import Sequence
from math import isinf
from numbers import Real
from typing import Any, Self

import numpy as np
from sklearn.base import BaseEstimator
from sklearn.exceptions import ConvergenceWarning
from sklearn.model_selection import train_test_split
from sklearn.utils import check_random_state
from sklearn.utils.validation import check_array, check_is_fitted, validate_data

from xpnet._checks import check_count, check_number, check_switch
from xpnet._typing import Array, Loss
from xpnet.backends.base import Data
from xpnet.backends.dispatch import Backend, dtype_name, namespace
from xpnet.losses import SoftmaxWithLoss
from xpnet.models import Sequential
from xpnet.sklearn.epochs import Epochs, Patience
from xpnet.sklearn.networks import batch_size_of, layers_of, optimizer_of, outputs_of, start, transforms_of
from xpnet.sklearn.places import check_same_place, on_host, place_of
from xpnet.training import Every, History, Trainer
from xpnet.training.minibatches import Minibatches

#: How many steps a training has to have for compiling them to pay.
WORTH_COMPILING = 20
#: Where seeds are drawn from.
SEEDS = 2**31 - 1


class NeuralNet(BaseEstimator):  # type: ignore[misc]  # scikit-learn has no types
    """A network, how it is trained, and what came of it.

    Args:
        hidden_layer_sizes: how many units each hidden layer has; one number is one layer.
        activation: ``"relu"``, ``"leaky_relu"``, ``"logistic"`` (or ``"sigmoid"``), ``"tanh"``, ``"gelu"``,
            ``"swish"``, ``"softplus"``, ``"elu"`` or ``"identity"``.
        solver: the name of an optimizer of ``xpnet.optimizers``, ``"adam"`` or ``"rmsprop"`` for example, which gets
            ``learning_rate_init``; or an optimizer with a rate of its own, ``AdamW(0.001, weight_decay=0.1)``. As in
            scikit-learn, ``"sgd"`` has ``momentum``, of Nesterov's kind if ``nesterovs_momentum``.
        alpha: the penalty alpha |W|² / 2 on weights, over the number of samples in a minibatch.
        batch_size: samples a minibatch; ``"auto"`` is 200, or all if there are fewer.
        learning_rate: ``"constant"``; ``"invscaling"``, over the root of the number of samples seen; ``"adaptive"``, a
            fifth after each ``n_iter_no_change`` epochs without progress, until it is 1e-6; or a schedule of
            ``xpnet.schedules``. It holds for every named solver.
        learning_rate_init: the rate at the start.
        max_iter: the most epochs of a fit.
        shuffle: whether each epoch has an order of its own.
        random_state: a seed for weights, minibatches, dropout and the held-out samples; or a ``RandomState``, or None.
        tol: how much better the loss of an epoch (with ``early_stopping`` the validation score) has to be to count.
        verbose: whether to write a line an epoch.
        warm_start: whether ``fit`` goes on with the weights and the optimizer's state of the fit before.
        momentum, nesterovs_momentum: of the solver ``"sgd"``.
        early_stopping: whether to hold samples out, to stop by the score on these, and to keep the best weights.
        validation_fraction: the share that is held out.
        n_iter_no_change: how many epochs in a row may pass without progress; ``inf`` for any number.
        dropout: the share of hidden units that is left out in each training step.
        network: layers of one's own instead: a list, or a function of the shape of a sample and the number of outputs
            that returns one. X may then have more axes, as images have. A classifier has an output a class, or one or
            two for two classes.
        callbacks: of ``xpnet.training``, and functions that are called with the evaluation of each epoch.
        dtype: ``"float32"`` or ``"float64"`` to compute in; by default that of X.
        backend, device: where to train, ``"torch"`` and ``"cuda"`` for example; by default where X is. Results come
            back to where X is.
    """

    #: Of the input of ``fit``: where it was, and how many numbers a sample is to be predicted as.
    _place: Backend
    n_outputs_: int

    def __init_subclass__(cls, **options: Any) -> None:
        super().__init_subclass__(**options)
        own, shared = cls.__doc__, NeuralNet.__doc__
        if own and shared:  # python -OO leaves none
            cls.__doc__ = own.replace("    Args:", shared[shared.index("    Args:") :].rstrip(), 1)

    def __init__(
        self,
        hidden_layer_sizes: Any = (100,),
        activation: str = "relu",
        *,
        solver: Any = "adam",
        alpha: float = 0.0001,
        batch_size: Any = "auto",
        learning_rate: Any = "constant",
        learning_rate_init: float = 0.001,
        max_iter: int = 200,
        shuffle: bool = True,
        random_state: Any = None,
        tol: float = 1e-4,
        verbose: bool = False,
        warm_start: bool = False,
        momentum: float = 0.9,
        nesterovs_momentum: bool = True,
        early_stopping: bool = False,
        validation_fraction: float = 0.1,
        n_iter_no_change: float = 10,
        dropout: float = 0.0,
        network: Any = None,
        callbacks: Any = (),
        dtype: Any = None,
        backend: Any = None,
        device: Any = None,
    ) -> None:
        self.hidden_layer_sizes = hidden_layer_sizes
        self.activation = activation
        self.solver = solver
        self.alpha = alpha
        self.batch_size = batch_size
        self.learning_rate = learning_rate
        self.learning_rate_init = learning_rate_init
        self.max_iter = max_iter
        self.shuffle = shuffle
        self.random_state = random_state
        self.tol = tol
        self.verbose = verbose
        self.warm_start = warm_start
        self.momentum = momentum
        self.nesterovs_momentum = nesterovs_momentum
        self.early_stopping = early_stopping
        self.validation_fraction = validation_fraction
        self.n_iter_no_change = n_iter_no_change
        self.dropout = dropout
        self.network = network
        self.callbacks = callbacks
        self.dtype = dtype
        self.backend = backend
        self.device = device

    def fit(self, X: Any, y: Any, sample_weight: Any = None) -> Self:
        """Train for at most ``max_iter`` epochs: from new weights, or with ``warm_start`` from those of before.

        Args:
            X: samples (N, features); for a network of one's own of any shape (N, ...).
            y: a target for each sample (N,), or several (N, outputs).
            sample_weight: how much each sample counts (N,), 0 or more.

        Raises:
            TypeError, ValueError: what scikit-learn's checks of input refuse, or a parameter that is out of range.
            DivergedError: a loss was not finite.
        """
        going_on = self.warm_start and hasattr(self, "network_")
        epochs = self._train(X, y, sample_weight, going_on, check_count(self.max_iter, "max_iter"))
        if self.n_iter_ == self.max_iter and self._trainer.stopped is None:
            warnings.warn(
                f"Maximum iterations ({self.max_iter}) reached and the optimization hasn't converged yet.",
                ConvergenceWarning,
                stacklevel=2,
            )
        if epochs.best:
            self.network_.params, self.network_.buffers = epochs.best["params"], epochs.best["buffers"]
        return self

    def _partial_fit(self, X: Any, y: Any, sample_weight: Any, classes: np.ndarray | None = None) -> Self:
        if self.early_stopping:
            raise ValueError("partial_fit does not support early_stopping=True")
        self._train(X, y, sample_weight, hasattr(self, "network_"), None, classes)
        return self

    @property
    def coefs_(self) -> list[Array]:
        """The weight matrices of the layers, in their order."""
        return self._parameters("W")

    @property
    def intercepts_(self) -> list[Array]:
        """The biases of the layers, in their order."""
        return self._parameters("b")

    def _parameters(self, kind: str) -> list[Array]:
        if not hasattr(self, "network_"):
            raise AttributeError(f"this {type(self).__name__} is not fitted yet")
        if self.network is not None:
            raise AttributeError("the arrays of a network of one's own are in network_.params")
        return [array for name, array in self.network_.params.items() if name.startswith(kind)]

    @property
    def history_(self) -> History:
        """The losses of all minibatches and epochs; with ``warm_start`` and ``partial_fit`` of earlier calls, too."""
        if not hasattr(self, "_trainer"):
            raise AttributeError(f"this {type(self).__name__} is not fitted yet")
        history: History = self._trainer.history
        return history

    @abstractmethod
    def _learn(self, y: Any, going_on: bool, classes: np.ndarray | None) -> np.ndarray:
        """Targets on the host after checks: numbers (N, outputs), or labels 0, 1, ... (N,); notes what they are."""

    @abstractmethod
    def _loss(self, outputs: int) -> Loss:
        """The loss of a network with so many outputs."""

    @abstractmethod
    def _monitor(self) -> str:
        """What ends training, by its name in a history."""

    def _weights(self, y: Any, weight: np.ndarray | None) -> np.ndarray | None:
        """How much each sample counts; None where all count the same."""
        return weight

    def _train(
        self, X: Any, y: Any, weight: Any, going_on: bool, epochs: int | None, classes: np.ndarray | None = None
    ) -> Epochs:
        """Train for so many epochs at most; None is one epoch, whatever comes of it."""
        for name in ("shuffle", "warm_start", "early_stopping"):
            check_switch(getattr(self, name), name)
        place, y = place_of(X), on_host(y)
        if going_on:
            check_same_place(self, self._place, X, "partial_fit" if epochs is None else "fit")
        X, y = validate_data(self, X, y, multi_output=True, **self._input(place), reset=not going_on)
        self._place = place
        targets = self._learn(y, going_on, classes)
        weight = self._weights(y, _checked_weight(weight, X.shape[0]))
        if not going_on:
            self._begin(X)
        data, held_out = self._data(X, targets, weight, epochs is not None and self.early_stopping)
        watch = self._watch(stops=epochs is not None, lower=held_out is None)
        self._take_epochs(data, held_out, epochs or 1, watch)
        self.n_iter_ = len(watch.losses)
        if watch.losses:  # no callback stopped it before the end of the first epoch
            self.loss_curve_ += watch.losses
            self.loss_, self.best_loss_ = self.loss_curve_[-1], min(self.loss_curve_)
        if watch.scores:
            self.validation_scores_, self.best_validation_score_ = watch.scores, max(watch.scores)
        return watch

    def _take_epochs(self, data: Data, held_out: Data | None, epochs: int, watch: Epochs) -> None:
        if not isinstance(self.callbacks, Sequence):
            raise TypeError(f"callbacks is {self.callbacks!r}, expected a list of callbacks and functions: [print]")
        trainer = self._trainer_for(data)
        steps = epochs * -(-data["x"].shape[0] // trainer.batch_size)
        trainer.compile = None if trainer.iteration + steps >= WORTH_COMPILING else False
        trainer.fit(
            **data,
            validation=None if held_out is None else tuple(held_out.values()),
            epochs=epochs,
            callbacks=[watch, *self.callbacks],
            progress=False,
            evaluate=Every(train="running"),
        )

    def _input(self, place: Backend) -> dict[str, Any]:
        """How X is checked and converted."""
        return {"dtype": [place.xp.float64, place.xp.float32], "allow_nd": self.network is not None}

    def _begin(self, X: Array) -> None:
        """Make a network with new weights, for samples like these."""
        shape = tuple(X.shape[1:])
        layers = layers_of(self, shape, self.n_outputs_)
        self._rng = np.random.default_rng(check_random_state(self.random_state).randint(SEEDS))
        self.network_ = Sequential(
            layers,
            self._loss(outputs_of(layers, shape) or self.n_outputs_),
            weight_init="zeros" if self.network is None else "auto",
            seed=self._rng,
            dtype=dtype_name(X.dtype) if self.dtype is None else self.dtype,
            backend=self._place if self.backend is None else self.backend,
            device=self.device,
        )
        if self.network is None:
            start(self.network_, self.activation, self._rng)
        self.__dict__.pop("_trainer", None)
        self.loss_curve_: list[float] = []

    def _data(
        self, X: Array, targets: np.ndarray, weight: np.ndarray | None, holds_out: bool
    ) -> tuple[Data, Data | None]:
        """What is trained on, and what is held out: arrays of the network; a weight only if there is one."""
        net = self.network_
        there, floating = net.backend.asarray, dtype_name(net.dtype)
        if targets.ndim > 1 or not isinstance(net.loss_layer, SoftmaxWithLoss):
            t = there(targets.reshape(len(targets), -1), floating)
        else:
            t = there(targets)
        data = {"x": there(X, floating), "t": t}
        if weight is not None:
            data["weight"] = there(weight, floating)
        if not holds_out:
            return data, None
        share = check_number(self.validation_fraction, "validation_fraction", above=0, below=1)
        train, held_out = train_test_split(
            np.arange(len(targets)),
            test_size=share,
            stratify=targets if targets.ndim == 1 else None,
            random_state=int(self._rng.integers(SEEDS)),
        )
        if len(held_out) < 2:
            raise ValueError(
                "The validation set is too small. Increase 'validation_fraction' or the size of your dataset."
            )
        xp = net.backend.xp
        rest, out = ({k: xp.take(a, there(rows), axis=0) for k, a in data.items()} for rows in (train, held_out))
        return rest, out

    def _trainer_for(self, data: Data) -> Trainer:
        """A trainer with the parameters of now: that of the call before, if training goes on, which compiles less."""
        samples, weight = data["x"].shape[0], data.get("weight")
        batch, sampling = batch_size_of(self, samples), "epochs" if self.shuffle else "sequential"
        mean_weight = 1.0 if weight is None else float(namespace(weight).mean(weight))
        optimizer = optimizer_of(self, -(-samples // batch), samples)
        transforms = transforms_of(self, batch, mean_weight)
        if not hasattr(self, "_trainer"):
            options: dict[str, Any] = {"transforms": transforms, "batch_size": batch, "sampling": sampling}
            self._trainer = Trainer(self.network_, optimizer, **options, seed=self._rng)
        trainer: Trainer = self._trainer
        if trainer.optimizer != optimizer:
            trainer.optimizer, trainer.optimizer_state = optimizer, optimizer.init(self.network_.own_params())
        if trainer.transforms != transforms:  # they have no state
            trainer.transforms = transforms
        if (trainer.batch_size, trainer.sampling) != (batch, sampling):
            trainer.batch_size, trainer.sampling = batch, sampling
            trainer.batches = Minibatches(0, batch, trainer.rng, sampling, passed=trainer.batches.epoch)
        return trainer

    def _watch(self, *, stops: bool, lower: bool) -> Epochs:
        epochs, tol = self._patience() if stops else None, check_number(self.tol, "tol", least=0)
        return Epochs(
            None if epochs is None else Patience(tol, epochs, lower=lower),
            adaptive=self.learning_rate == "adaptive",
            verbose=bool(self.verbose),
        )

    def _patience(self) -> int | None:
        """How many epochs may pass without progress; None for any number."""
        epochs = self.n_iter_no_change
        return None if isinstance(epochs, float) and isinf(epochs) else check_count(epochs, "n_iter_no_change")

    def _outputs(self, X: Any, method: str) -> Array:
        """What the network makes of X (N, outputs), where X is."""
        check_is_fitted(self, "network_")
        check_same_place(self, self._place, X, method)
        X = validate_data(self, X, **self._input(self._place), reset=False)
        net = self.network_
        if net.backend == self._place:
            return net.predict(X)
        return self._place.asarray(net.predict(net.backend.asarray(X, dtype_name(net.dtype))))

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.array_api_support = True
        return tags


def _checked_weight(weight: Any, samples: int) -> np.ndarray | None:
    """Weights of samples on the host; one number is the same as none."""
    if weight is None:
        return None
    if isinstance(weight, Real):
        weight = np.full(samples, float(weight))
    weight = check_array(on_host(weight), ensure_2d=False, dtype=np.float64, input_name="sample_weight")
    if weight.ndim != 1:
        raise ValueError(f"Sample weights must be 1D array or scalar, got {weight.ndim}D array")
    if weight.shape != (samples,):
        raise ValueError(f"sample_weight.shape == {weight.shape}, expected {(samples,)}!")
    if not (weight >= 0).all():
        raise ValueError("Negative values in data passed to `sample_weight`")
    if not weight.any():
        raise ValueError("Sample weights must contain at least one non-zero number.")
    found: np.ndarray = weight
    return found

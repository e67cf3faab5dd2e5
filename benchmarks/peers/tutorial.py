"""The loop of the tutorials in NumPy: layer objects that keep their weights and gradients, and an OrderedDict of them.

``book`` computes the loss of the minibatch again after the update, to note it, as such loops do; ``lean`` notes the
one that the gradient was computed with, which saves a forward pass. Both draw with ``np.random.choice``, so that its
time is counted, and then train on the minibatch that all contenders see.
"""

from __future__ import annotations

from collections import OrderedDict

import numpy as np
from worker import Job, Worker


class Affine:
    def __init__(self, W, b):
        self.W, self.b = W, b
        self.x = self.dW = self.db = None

    def forward(self, x):
        self.x = x
        return np.dot(x, self.W) + self.b

    def backward(self, dout):
        dx = np.dot(dout, self.W.T)
        self.dW = np.dot(self.x.T, dout)
        self.db = np.sum(dout, axis=0)
        return dx


class Relu:
    def __init__(self):
        self.mask = None

    def forward(self, x):
        self.mask = x <= 0
        out = x.copy()
        out[self.mask] = 0
        return out

    def backward(self, dout):
        dout[self.mask] = 0
        return dout


def softmax(x):
    x = x - np.max(x, axis=-1, keepdims=True)
    return np.exp(x) / np.sum(np.exp(x), axis=-1, keepdims=True)


def cross_entropy_error(y, t):
    return -np.sum(t * np.log(y + 1e-7)) / y.shape[0]


class SoftmaxWithLoss:
    def __init__(self):
        self.loss = self.y = self.t = None

    def forward(self, x, t):
        self.t, self.y = t, softmax(x)
        self.loss = cross_entropy_error(self.y, t)
        return self.loss

    def backward(self, dout=1):
        return (self.y - self.t) * dout / self.t.shape[0]


class Net:
    """Affine and ReLU in turn; ``params`` holds the very arrays that the layers read."""

    def __init__(self, weights):
        self.params, self.layers = {}, OrderedDict()
        for i, (W, b) in enumerate(weights, 1):
            self.params[f"W{i}"], self.params[f"b{i}"] = W, b
            self.layers[f"Affine{i}"] = Affine(W, b)
            if i < len(weights):
                self.layers[f"Relu{i}"] = Relu()
        self.last_layer = SoftmaxWithLoss()

    def predict(self, x):
        for layer in self.layers.values():
            x = layer.forward(x)
        return x

    def loss(self, x, t):
        return self.last_layer.forward(self.predict(x), t)

    def gradient(self, x, t):
        self.loss(x, t)
        dout = self.last_layer.backward(1)
        for layer in reversed(list(self.layers.values())):
            dout = layer.backward(dout)
        affine = [layer for layer in self.layers.values() if isinstance(layer, Affine)]
        grads = {}
        for i, layer in enumerate(affine, 1):
            grads[f"W{i}"], grads[f"b{i}"] = layer.dW, layer.db
        return grads


class SGD:
    def __init__(self, lr):
        self.lr = lr

    def update(self, params, grads):
        for key in params:
            params[key] -= self.lr * grads[key]


class Adam:
    """With both corrections in the learning rate, and in eps, so that it is what all contenders compute."""

    def __init__(self, lr, beta1=0.9, beta2=0.999):
        self.lr, self.beta1, self.beta2, self.iter = lr, beta1, beta2, 0
        self.m = self.v = None

    def update(self, params, grads):
        if self.m is None:
            self.m = {key: np.zeros_like(value) for key, value in params.items()}
            self.v = {key: np.zeros_like(value) for key, value in params.items()}
        self.iter += 1
        root = (1 - self.beta2**self.iter) ** 0.5
        lr = self.lr * root / (1 - self.beta1**self.iter)
        for key in params:
            self.m[key] += (1 - self.beta1) * (grads[key] - self.m[key])
            self.v[key] += (1 - self.beta2) * (grads[key] ** 2 - self.v[key])
            params[key] -= lr * self.m[key] / (np.sqrt(self.v[key]) + 1e-8 * root)


def trainer(job: Job, again: bool):
    x_train, t_train = job.x, np.eye(job.sizes[-1], dtype=np.float32)[job.labels]
    network, optimizer = Net(job.weights), (Adam if job.adam else SGD)(job.lr)

    def train(rows):
        losses, noted = [], []
        for row in rows:
            np.random.choice(len(x_train), job.batch)  # as the tutorials draw
            x_batch, t_batch = x_train[row], t_train[row]
            grads = network.gradient(x_batch, t_batch)
            losses.append(network.last_layer.loss)
            optimizer.update(network.params, grads)
            if again:
                noted.append(network.loss(x_batch, t_batch))
        return losses

    return train


def main() -> None:
    worker = Worker("numpy")
    worker.serve(trainer(worker.job, again=worker.variant == "book"))


if __name__ == "__main__":
    main()

"""Modules of PyTorch, and networks of the same layers."""

from __future__ import annotations

from collections import OrderedDict

import numpy as np
import pytest

from xpnet import DeepConvNet, MultiLayerNet, ResNet, Sequential, SimpleConvNet
from xpnet.layers import (
    GELU,
    Affine,
    BatchNorm,
    Chain,
    Conv1d,
    Conv2d,
    Dropout,
    Embedding,
    Flatten,
    LayerNorm,
    ReLU,
    Residual,
    Tanh,
    TimeDistributed,
)

torch = pytest.importorskip("torch", reason="torch is not installed, whose modules are what is compared with")
nn = torch.nn


def conv(i, o, k=3, s=1, p=1, **options):
    return nn.Conv2d(i, o, k, s, p, **options)


class Skip(nn.Module):
    def __init__(self, inner, shortcut=None):
        super().__init__()
        self.inner, self.shortcut = inner, shortcut

    def forward(self, x):
        return self.inner(x) + (x if self.shortcut is None else self.shortcut(x))


class Mean(nn.Module):
    def forward(self, x):
        return x.mean((2, 3))


def block(i, o, stride=1, bias=True):
    inner = nn.Sequential(
        conv(i, o, s=stride, bias=bias), nn.BatchNorm2d(o), nn.ReLU(), conv(o, o, bias=bias), nn.BatchNorm2d(o)
    )
    resized = nn.Sequential(conv(i, o, 1, stride, 0, bias=bias), nn.BatchNorm2d(o)) if stride > 1 else None
    return Skip(inner, resized)


def resnet(bias=True):
    layers = [conv(3, 4, bias=bias), nn.BatchNorm2d(4), nn.ReLU(), block(4, 4, bias=bias), nn.ReLU()]
    layers += [block(4, 8, 2, bias), nn.ReLU(), Mean(), nn.Linear(8, 5)]
    return nn.Sequential(*layers)


def deep():
    widths, layers = [1, 4, 4, 6, 6, 8, 8], []
    for i in range(6):
        layers += [conv(widths[i], widths[i + 1], p=2 if i == 3 else 1), nn.ReLU()]
        layers += [nn.MaxPool2d(2)] if i % 2 else []
    return nn.Sequential(*layers, nn.Flatten(), nn.Linear(8 * 4 * 4, 7), nn.ReLU(), nn.Dropout(), nn.Linear(7, 3))


def deep_here(**options):
    params = {f"conv_param_{i + 1}": {"filter_num": n} for i, n in enumerate([4, 4, 6, 6, 8, 8])}
    return DeepConvNet((1, 28, 28), **params, hidden_size=7, output_size=3, **options)


#: A module, the same network here, and the shape of samples, or how many integers there are in one of so many.
PAIRS = {
    "mlp": (
        lambda: nn.Sequential(nn.Linear(6, 5), nn.Tanh(), nn.Linear(5, 5), nn.Tanh(), nn.Linear(5, 3)),
        lambda **o: MultiLayerNet(6, [5, 5], 3, "tanh", **o),
        (6,),
    ),
    "simple": (
        lambda: nn.Sequential(
            OrderedDict(
                conv=nn.Conv2d(2, 3, 5),
                relu=nn.ReLU(),
                pool=nn.MaxPool2d(2),
                flat=nn.Flatten(),
                hidden=nn.Linear(3 * 4 * 3, 8),
                relu2=nn.ReLU(),
                scores=nn.Linear(8, 4),
            )
        ),
        lambda **o: SimpleConvNet((2, 12, 10), {"filter_num": 3}, 8, 4, **o),
        (2, 12, 10),
    ),
    "deep": (deep, deep_here, (1, 28, 28)),
    "resnet": (resnet, lambda **o: ResNet((3, 8, 8), (4, 8), 1, 5, **o), (3, 8, 8)),
    "resnet without biases": (
        lambda: resnet(bias=False),
        lambda **o: ResNet((3, 8, 8), (4, 8), 1, 5, **o),
        (3, 8, 8),
    ),
    "normalized": (
        lambda: nn.Sequential(
            nn.Linear(6, 5),
            nn.BatchNorm1d(5),
            nn.GELU(),
            Skip(nn.Sequential(nn.Linear(5, 5), nn.LayerNorm(5), nn.Tanh())),
            nn.Linear(5, 3),
        ),
        lambda **o: Sequential(
            [
                Affine(6, 5),
                BatchNorm(5),
                GELU(exact=True),
                Residual(Chain(Affine(5, 5), LayerNorm(5), Tanh())),
                Affine(5, 3),
            ],
            **o,
        ),
        (6,),
    ),
    "tokens": (
        lambda: nn.Sequential(nn.Embedding(11, 4), nn.Linear(4, 6), nn.ReLU(), nn.Flatten(), nn.Linear(5 * 6, 3)),
        lambda **o: Sequential(
            [Embedding(11, 4), TimeDistributed(Affine(4, 6)), ReLU(), Flatten(), Affine(30, 3)], **o
        ),
        (11, 5),
    ),
    "sequences": (
        lambda: nn.Sequential(nn.Conv1d(3, 4, 3, 2, 1, groups=1), nn.ReLU(), nn.Flatten(), nn.Linear(16, 2)),
        lambda **o: Sequential([Conv1d(3, 4, 3, 2, 1), ReLU(), Dropout(), Affine(16, 2)], **o),
        (3, 8),
    ),
    "groups": (
        lambda: nn.Sequential(
            conv(4, 8, groups=4, dilation=2), nn.ReLU(), conv(8, 2, (1, 3)), nn.Flatten(), nn.Linear(2 * 6 * 4, 2)
        ),
        lambda **o: Sequential([Conv2d(4, 8, 3, 1, 1, 2, 4), ReLU(), Conv2d(8, 2, (1, 3), 1, 1), Affine(48, 2)], **o),
        (4, 6, 6),
    ),
}


def made(case, dtype="float64", backend="numpy"):
    """A module whose running statistics are not those of the start, the network, and samples."""
    torch.manual_seed(1)
    module, net, shape = PAIRS[case]
    module, rng = module().double(), np.random.default_rng(0)
    x = rng.integers(0, shape[0], (9, *shape[1:])) if case == "tokens" else rng.normal(size=(9, *shape))
    if dtype == "float32":
        module, x = module.float(), x if case == "tokens" else x.astype("float32")
    module.train()
    with torch.no_grad():
        for _ in range(3):
            module(torch.as_tensor(x))
    net = net(dtype=dtype, backend=backend)
    return module, net, net.backend.asarray(x)

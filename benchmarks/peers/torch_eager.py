"""PyTorch as its tutorials write it: ``nn.Linear``, ``CrossEntropyLoss``, ``torch.optim``, and data that is in memory.

``index`` takes a minibatch by ``x[rows]``, as people write it; ``select`` by ``index_select``, which takes less time.
``on cpu`` is for a GPU that PyTorch does not see, to have its losses.
``channels-last`` has images and filters in the order (N, H, W, C) in memory, as PyTorch advises for convolutions.
A ``DataLoader`` would take several times as long as the rest of the step.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import torch
from worker import Job, Worker


def model_of(job: Job) -> torch.nn.Sequential:
    """The network with the weights of the job."""
    if job.layers:
        parts = list(on_images(job))
    else:
        layers = [linear(*pair) for pair in job.weights]
        parts = [part for layer in layers[:-1] for part in (layer, torch.nn.ReLU())] + layers[-1:]
    return torch.nn.Sequential(*parts).to(job.device)


def on_images(job: Job) -> Iterator[torch.nn.Module]:
    """The layers of a network of convolutions."""
    weights, flat = iter(job.weights), False
    for kind, *numbers in job.layers:
        if kind == "conv":
            yield convolution(*next(weights), padding=numbers[-1])
        elif kind == "affine":
            if not flat:
                yield torch.nn.Flatten()
            flat = True
            yield linear(*next(weights))
        else:
            yield torch.nn.MaxPool2d(2) if kind == "pool" else torch.nn.ReLU()


def linear(w: np.ndarray, b: np.ndarray) -> torch.nn.Linear:
    return filled(torch.nn.Linear(*w.shape), w.T.copy(), b)


def convolution(w: np.ndarray, b: np.ndarray, padding: int) -> torch.nn.Conv2d:
    filters, channels, *size = w.shape
    return filled(torch.nn.Conv2d(channels, filters, size, padding=padding), w, b)


def filled(layer: torch.nn.Module, w: np.ndarray, b: np.ndarray) -> torch.nn.Module:
    with torch.no_grad():
        layer.weight.copy_(torch.from_numpy(w))
        layer.bias.copy_(torch.from_numpy(b))
    return layer


def optimizer_of(job: Job, model: torch.nn.Module) -> torch.optim.Optimizer:
    return (torch.optim.Adam if job.adam else torch.optim.SGD)(model.parameters(), lr=job.lr)


def data_of(job: Job) -> tuple[torch.Tensor, torch.Tensor]:
    return torch.from_numpy(job.x).to(job.device), torch.from_numpy(job.labels).long().to(job.device)


def main() -> None:
    worker = Worker("torch", "numpy")
    job = worker.job
    job.device = "cpu" if "on cpu" in worker.variant else job.device
    x, t = data_of(job)
    model, loss_function = model_of(job), torch.nn.CrossEntropyLoss()
    optimizer = optimizer_of(job, model)
    select = worker.variant == "select"
    if "channels-last" in worker.variant:
        x, model = x.to(memory_format=torch.channels_last), model.to(memory_format=torch.channels_last)

    def train(rows):
        losses = []
        for row in torch.from_numpy(rows).to(job.device):
            batch, labels = (x.index_select(0, row), t.index_select(0, row)) if select else (x[row], t[row])
            optimizer.zero_grad()
            loss = loss_function(model(batch), labels)
            loss.backward()
            optimizer.step()
            losses.append(loss.detach())
        return torch.stack(losses).tolist()

    worker.serve(train)


if __name__ == "__main__":
    main()

"""PyTorch as its tutorials write it: ``nn.Linear``, ``CrossEntropyLoss``, ``torch.optim``, and data that is in memory.

``index`` takes a minibatch by ``x[rows]``, as people write it; ``select`` by ``index_select``, which takes less time.
``channels-last`` has images and filters in the order (N, H, W, C) in memory, as PyTorch advises for convolutions.
A ``DataLoader`` would take several times as long as the rest of the step.
"""

from __future__ import annotations

from itertools import pairwise

import torch
from worker import Job, Worker


def model_of(job: Job) -> torch.nn.Sequential:
    """The network with the weights of the job."""
    layers = [torch.nn.Linear(n, m) for n, m in pairwise(job.sizes)]
    if job.convolutions:
        filters, channels, *kernel = job.weights[0][0].shape
        layers[0] = torch.nn.Conv2d(channels, filters, kernel)
    with torch.no_grad():
        for layer, (w, b) in zip(layers, job.weights, strict=True):
            layer.weight.copy_(torch.from_numpy(w.copy() if w.ndim == 4 else w.T.copy()))
            layer.bias.copy_(torch.from_numpy(b))
    if job.convolutions:
        conv, hidden, last = layers
        front = (conv, torch.nn.ReLU(), torch.nn.MaxPool2d(2), torch.nn.Flatten())
        return torch.nn.Sequential(*front, hidden, torch.nn.ReLU(), last).to(job.device)
    between = [part for layer in layers[:-1] for part in (layer, torch.nn.ReLU())]
    return torch.nn.Sequential(*between, layers[-1]).to(job.device)


def optimizer_of(job: Job, model: torch.nn.Module) -> torch.optim.Optimizer:
    return (torch.optim.Adam if job.adam else torch.optim.SGD)(model.parameters(), lr=job.lr)


def data_of(job: Job) -> tuple[torch.Tensor, torch.Tensor]:
    return torch.from_numpy(job.x).to(job.device), torch.from_numpy(job.labels).long().to(job.device)


def main() -> None:
    worker = Worker("torch", "numpy")
    job = worker.job
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

"""PyTorch's tutorial step, ``nn.Linear``, ``CrossEntropyLoss`` and ``torch.optim``, captured as one CUDA graph.

Rows, the number of the step and the losses are on the device, so that a step is one launch: the most that PyTorch has
to offer small steps without another compiler. The steps that warm up change weights, which are put back.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch_eager import data_of, model_of, optimizer_of
from worker import Job, Worker

#: Steps before the capture, as PyTorch asks for: libraries and the optimizer make what they keep.
WARM_UP = 3

Call = Callable[[], None]


def captured(step: Call) -> Call:
    """The launch of a graph of all that ``step`` asks of the device; it is warmed up on the stream of the capture."""
    stream, graph = torch.cuda.Stream(), torch.cuda.CUDAGraph()
    stream.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(stream):
        for _ in range(WARM_UP):
            step()
    torch.cuda.current_stream().wait_stream(stream)
    with torch.cuda.graph(graph, stream=stream):
        step()
    return graph.replay


def trainer(job: Job, capture: Callable[[Call], Call]) -> Callable[[torch.Tensor], list[float]]:
    """What takes the steps of rows (K, B), of which K is the same in every call, and returns their losses."""
    x, t = data_of(job)
    model, loss_function = model_of(job), torch.nn.CrossEntropyLoss()
    optimizer = optimizer_of(job, model)
    for group in optimizer.param_groups:
        group |= {"capturable": True} if job.adam and job.device != "cpu" else {}  # its count of steps is on the GPU
    order = torch.zeros((job.steps, job.batch), dtype=torch.int64, device=job.device)
    number = torch.zeros(1, dtype=torch.int64, device=job.device)
    losses = torch.zeros(job.steps, device=job.device)

    def step() -> None:
        row = order.index_select(0, number).flatten()
        optimizer.zero_grad(set_to_none=True)
        loss = loss_function(model(x.index_select(0, row)), t.index_select(0, row))
        loss.backward()
        optimizer.step()
        losses.index_copy_(0, number, loss.detach().reshape(1))
        number.add_(1).remainder_(job.steps)

    before = [p.detach().clone() for p in model.parameters()]
    launch = capture(step)
    with torch.no_grad():
        for p, was in zip(model.parameters(), before, strict=True):
            p.copy_(was)
    for kept in optimizer.state.values():
        for value in kept.values():
            if value is not None:
                value.zero_()

    def train(rows: torch.Tensor) -> list[float]:
        order.copy_(rows)
        number.zero_()
        for _ in range(job.steps):
            launch()
        return losses.tolist()

    return train


def main() -> None:
    if not torch.cuda.is_available():
        raise SystemExit(f"RuntimeError: CUDA graphs need a CUDA GPU, and torch {torch.__version__} finds none")
    worker = Worker("torch", "numpy")
    train = trainer(worker.job, captured)
    worker.serve(lambda rows: train(torch.from_numpy(rows)))


if __name__ == "__main__":
    main()

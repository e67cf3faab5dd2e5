"""PyTorch compiled, in two ways.

``recipe``: the model with its loss under ``torch.compile``, and ``optimizer.step`` under another one, as in PyTorch's
recipe for a compiled optimizer. ``graph``: the whole step, gather and update included, in one graph without a break,
which asks for gradients by ``torch.func`` and for the update rule to be written out.
"""

from __future__ import annotations

from math import log

import torch
from torch_eager import data_of, model_of, optimizer_of
from worker import Job, Worker


def recipe(job: Job, x: torch.Tensor, t: torch.Tensor):
    model, loss_function = model_of(job), torch.nn.CrossEntropyLoss()
    optimizer = optimizer_of(job, model)
    forward = torch.compile(lambda rows: loss_function(model(x[rows]), t[rows]), fullgraph=True)
    update = torch.compile(lambda: optimizer.step(), fullgraph=False)

    def step(rows):
        loss = forward(rows)
        loss.backward()
        update()
        optimizer.zero_grad()
        return loss.detach()

    return step


def graph(job: Job, x: torch.Tensor, t: torch.Tensor):
    model, loss_function = model_of(job), torch.nn.CrossEntropyLoss()
    params = {name: p.detach().clone() for name, p in model.named_parameters()}
    moments = [{name: torch.zeros_like(p) for name, p in params.items()} for _ in range(2)]
    count = torch.zeros((), device=job.device)

    def loss_of(params, batch, labels):
        return loss_function(torch.func.functional_call(model, params, (batch,)), labels)

    def update(grads):
        if not job.adam:
            for name, g in grads.items():
                params[name].sub_(g, alpha=job.lr)
            return
        count.add_(1)
        # 1 - 0.999 ** count in float32 is wrong by 6e-5 at first
        first, second = -torch.expm1(count * log(0.9)), torch.sqrt(-torch.expm1(count * log(0.999)))
        for name, g in grads.items():
            m, v = (moment[name] for moment in moments)
            m.lerp_(g, 0.1)
            v.mul_(0.999).addcmul_(g, g, value=0.001)
            params[name].sub_(job.lr / first * m / (v.sqrt() / second + 1e-8))

    @torch.compile(fullgraph=True)
    def step(rows):
        grads, loss = torch.func.grad_and_value(loss_of)(params, x[rows], t[rows])
        update(grads)
        return loss

    return step


def main() -> None:
    worker = Worker("torch", "numpy")
    job = worker.job
    step = {"graph": graph, "recipe": recipe}[worker.variant](job, *data_of(job))

    def train(rows):
        return torch.stack([step(row) for row in torch.from_numpy(rows).to(job.device)]).tolist()

    worker.serve(train)


if __name__ == "__main__":
    main()

"""``xpnet train`` as a script of PyTorch: the same network and steps, and an evaluation of all data each epoch."""

from __future__ import annotations

import torch
from digits import HIDDEN, LR, SEED, epochs, mnist, save, tell

torch.manual_seed(SEED)
(x, t), (x_test, t_test) = [(torch.from_numpy(x), torch.from_numpy(t).long()) for x, t in mnist()]
model = torch.nn.Sequential(torch.nn.Linear(784, HIDDEN), torch.nn.ReLU(), torch.nn.Linear(HIDDEN, 10))
optimizer = torch.optim.SGD(model.parameters(), lr=LR)
criterion = torch.nn.CrossEntropyLoss()


def evaluate() -> list[float]:
    found = []
    with torch.no_grad():
        for images, labels in ((x, t), (x_test, t_test)):
            scores = model(images)
            found += [criterion(scores, labels).item(), (scores.argmax(1) == labels).float().mean().item()]
    return found


losses: list[float] = []
tell(0, *evaluate())
for rows in epochs(len(t)):
    seen = []
    for row in torch.from_numpy(rows):
        optimizer.zero_grad()
        loss = criterion(model(x[row]), t[row])
        loss.backward()
        optimizer.step()
        seen.append(loss.detach())
    losses += torch.stack(seen).tolist()
    tell(len(losses), *evaluate())
save(losses, **{name: p.detach().numpy() for name, p in model.named_parameters()})

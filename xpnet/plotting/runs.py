"""Several training runs in one picture, from histories, their files, or the folders that ``xpnet train`` leaves."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from os import PathLike
from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

from xpnet.plotting.curves import Course, loss_curve, metric_curve, metric_of
from xpnet.plotting.figures import new_figure
from xpnet.serialization.atomic import path_of
from xpnet.streams import printable

if TYPE_CHECKING:
    from matplotlib.figure import Figure

#: What a history is called in the folder of a run.
HISTORY = "history.json"
#: What an evaluation in a file has to have, and what it may have: all of it numbers.
NEEDED, PLACES = ("epoch", "iteration"), ("train", "validation")
MAY_HAVE = tuple(f"{place}_{what}" for place in PLACES for what in ("accuracy", "loss", "r2"))

#: What is taken for a run: a history, or where one is.
Run = Course | str | PathLike[str]


@dataclass
class RecordedRun:
    """A history read from a file: what is drawn of it, and what it was made with.

    Attributes:
        losses: the loss of each minibatch; NaN where it was not finite.
        evaluations: with the attributes of :class:`xpnet.Evaluation`.
        settings: what ``xpnet train`` was told.
        seconds, samples_per_second: how long the steps took, and how fast they were.
    """

    losses: list[float]
    evaluations: list[Any]
    settings: dict[str, Any] = field(default_factory=dict)
    seconds: float = 0.0
    samples_per_second: float = 0.0


def read_run(path: str | PathLike[str]) -> RecordedRun:
    """The history in a file that ``History.save`` wrote, or in the folder of a run.

    Raises:
        OSError: there is none, or it cannot be read.
        ValueError: it is no history.
    """
    file = path_of(path)
    file = file / HISTORY if file.is_dir() else file
    try:
        found = json.loads(file.read_bytes())
        losses = [_number(loss) for loss in found["losses"]]
        evaluations = [_evaluation(e) for e in found["evaluations"]]
        settings = found.get("settings", {})
        times = [_number(found.get(name, 0.0)) for name in ("seconds", "samples_per_second")]
        if not isinstance(settings, dict):
            raise TypeError("its settings are no dict")
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError) as error:
        raise ValueError(
            f"{printable(file)} is no history of a training ({type(error).__name__}: {printable(error)}); expected a "
            f"file that History.save wrote, or a folder with {HISTORY}"
        ) from None
    return RecordedRun(losses, evaluations, settings, *times)


def compare(runs: Mapping[str, Run] | Iterable[str | PathLike[str]]) -> Figure:
    """The loss curves of several runs, and the metric that they have, each run in its colour.

    Args:
        runs: histories by label, ``{"lr 0.1": history, "lr 0.01": "run/history.json"}``: a :class:`xpnet.History`, a
            file that ``History.save`` wrote, or the folder of a run of ``xpnet train``; or a list of files and folders,
            which are called by their names.

    Raises:
        TypeError: this is neither, or a run is none.
        OSError, ValueError: a file cannot be read, or holds no history; or there is no run.
    """
    named = named_runs(runs)
    metric = metric_of(named.values())
    figure, axes = new_figure(1 if metric is None else 2)
    left, right = (axes, None) if metric is None else axes
    for label, history in named.items():
        loss_curve(history, left, label=label)
        if metric is not None:
            metric_curve(history, right, metric=metric, label=label)
    return figure


def named_runs(runs: Any) -> dict[str, Any]:
    """The histories by their labels, those in files read."""
    if isinstance(runs, str | PathLike) or hasattr(runs, "losses") or not isinstance(runs, Iterable):
        raise TypeError(
            f'runs is of type {type(runs).__name__}, expected a dict: {{"lr 0.1": history}}, or a list of files'
        )
    if not isinstance(runs, Mapping):
        paths = list(runs)
        other = next((path for path in paths if not isinstance(path, str | PathLike)), None)
        if other is not None:
            raise TypeError(f'a run is of type {type(other).__name__}; give histories by label: {{"lr 0.1": history}}')
        runs = dict(zip(names_of(paths), paths, strict=True))
    if not runs:
        raise ValueError('runs is empty, expected at least one: {"lr 0.1": history}')
    return {str(label): _course(run, str(label)) for label, run in runs.items()}


def names_of(paths: Iterable[str | PathLike[str]]) -> list[str]:
    """What runs are called by their paths: the name of the folder, or as much of the path as tells them apart.

    >>> names_of(["runs/a", "runs/b/history.json"]), names_of(["one/run", "two/run"])
    (['a', 'b'], ['one/run', 'two/run'])
    """
    parts = [Path(path).parts for path in paths]
    parts = [p[:-1] if len(p) > 1 and p[-1] == HISTORY else p for p in parts]
    for length in range(1, max(map(len, parts), default=0) + 1):
        names = ["/".join(p[-length:]) for p in parts]
        if len(set(names)) == len(names):
            return names
    return [f"{'/'.join(p)} ({i})" for i, p in enumerate(parts, 1)]


def _course(run: Any, label: str) -> Any:
    if isinstance(run, str | PathLike):
        return read_run(run)
    if not (hasattr(run, "losses") and hasattr(run, "evaluations")):
        raise TypeError(f"the run {label!r} is of type {type(run).__name__}, expected a History, or a path of one")
    return run


def _evaluation(found: Any) -> SimpleNamespace:
    needed = {name: _number(found[name]) for name in NEEDED}
    return SimpleNamespace(**needed, **{n: None if found.get(n) is None else _number(found[n]) for n in MAY_HAVE})


def _number(value: Any) -> float:
    """A number of a file, in which one that is not finite is null."""
    if isinstance(value, bool) or not isinstance(value, int | float | None):
        raise TypeError(f"{value!r:.40} is no number")
    return float("nan") if value is None else float(value)

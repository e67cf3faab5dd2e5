"""What a reader is told of a run on a GPU: goals, reached or missed, tables, a picture, and what every command said."""

from __future__ import annotations

import shlex
from collections.abc import Iterable
from itertools import cycle
from pathlib import Path
from typing import Any

#: The seed step in xpnet on CuPy: so many times as fast as torch.nn, and no slower than these; the wide one: of the
#: card's matrix rate.
OURS, UNIT, TIMES, RIVALS, SHARE = "xpnet-cupy", "torch-eager", 10, ("torch-graph", "jax-scan"), 0.85
#: Lines of a command's output on the page, and names of failed tests.
LINES, NAMES = 25, 20


def goals(seed: dict[str, Any] | None, wide: dict[str, Any] | None) -> list[dict[str, Any]]:
    """Each goal, what was found, and whether it was reached: None where that was not measured."""
    small, large = measured(seed), measured(wide)
    ours, unit = small.get(OURS), small.get(UNIT)
    rivals = {name: small[name]["median"] for name in RIVALS if name in small}
    times = 1 / ours["ratio"] if ours and unit else None
    fastest = min(rivals, key=rivals.__getitem__, default=None)
    pace = ours["median"] / rivals[fastest] if ours and fastest else None
    share = large.get(OURS, {}).get("of matrix rate")
    missing = ", ".join(name for name in RIVALS if name not in rivals)
    return [
        _goal(
            f"seed step at least {TIMES} times as fast as torch.nn eager", times, f"{times or 0:.1f} times", TIMES, 1
        ),
        _goal(
            f"seed step no slower than the fastest of {' and '.join(RIVALS)}",
            pace,
            f"{pace or 0:.2f} of {fastest}",
            1,
            -1,
        )
        | ({"note": f"without {missing}"} if missing and pace else {}),
        _goal(f"wide step at least {SHARE:.0%} of the card's matrix rate", share, f"{share or 0:.0%}", SHARE, 1),
    ]


def _goal(text: str, value: float | None, found: str, bound: float, sign: int) -> dict[str, Any]:
    goal = {"goal": f"{OURS}: {text}"}
    if value is None:
        return goal | {"found": "not measured", "reached": None}
    return goal | {"found": found, "reached": sign * value >= sign * bound}


def measured(job: dict[str, Any] | None) -> dict[str, dict[str, Any]]:
    """The contenders that have a time."""
    return {name: row for name, row in (job or {}).get("contenders", {}).items() if "median" in row}


def page(result: dict[str, Any], picture: str) -> str:
    """All of it as Markdown."""
    parts = [
        "# xpnet on a GPU" if result["device"] == "cuda" else "# A trial of `benchmarks/gpu.py` on the processor",
        *(["A trial: little of each, to see that all of it runs. Its times say nothing."] if result["trial"] else []),
        *(["CuPy is a stand-in made of NumPy here. Its times say nothing."] if stand_in(result) else []),
        f"`python benchmarks/gpu.py`, {result['seconds']:.0f} s of {result['minutes'] * 60:.0f} s.",
        "## Goals\n\n" + table(("goal", "found", ""), [_goal_row(goal) for goal in result["goals"]]),
        "## Machine\n\n" + _machine(result),
        *(_job(result, name, title) for name, title in _jobs(result) if result[name]),
        _trained(result),
        _tested(result),
        "## Where a GPU begins to pay\n\n" + picture,
        "## Every command\n\n" + "\n\n".join(_commands(result)),
    ]
    return "\n\n".join(part for part in parts if part) + "\n"


def stand_in(result: dict[str, Any]) -> bool:
    """Whether CuPy is the one that tests have on machines without a GPU."""
    return any(found.get("device") == "stand-in" for found in result["rates"].values())


def table(head: Iterable[str], rows: Iterable[Iterable[str]]) -> str:
    lines = [list(head), *map(list, rows)]
    lines.insert(1, ["---"] * len(lines[0]))
    return "\n".join("| " + " | ".join(text.replace("|", "\\|") for text in line) + " |" for line in lines)


def _goal_row(goal: dict[str, Any]) -> tuple[str, str, str]:
    word = {True: "reached", False: "**missed**", None: "-"}[goal["reached"]]
    return goal["goal"], "; ".join(filter(None, [goal["found"], goal.get("note")])), word


def _machine(result: dict[str, Any]) -> str:
    tf32 = "rounded to TF32" if result["tf32"] else "full float32, not TF32"
    lines = [f"- {name}: {text}" for name, text in result["machine"].items()]
    lines += [f"- {name} {version}" for name, version in sorted(result["versions"].items())]
    lines += [f"- xpnet {result['xpnet']}", f"- BLAS of NumPy: {result['blas']}; {result['threads']} cores"]
    lines += [f"- factors of products: {tf32}"] if result["device"] != "cpu" else []
    for name, found in result["rates"].items():
        said = (
            f"multiplies matrices at {found['GFLOP/s']:,.0f} GFLOP/s on {found['device']}" if "device" in found else ""
        )
        lines.append(f"- {name} {said or 'cannot be used: ' + found['failure']}")
    if not result["card before"]:
        return "\n".join([*lines, "- `nvidia-smi` is not there: no driver, temperatures or clocks are told"])
    for when in ("before", "after"):
        for card in result[f"card {when}"]:
            lines.append(f"- {when}: " + ", ".join(f"{name} {value}" for name, value in card.items()))
    return "\n".join(lines)


def _jobs(result: dict[str, Any]) -> list[tuple[str, str]]:
    return [
        (stage["name"], stage["title"]) for stage in result["stages"] if stage["name"] in ("seed", "wide", "wide-tf32")
    ]


def _job(result: dict[str, Any], name: str, title: str) -> str:
    """Times beside PyTorch and JAX; all started from the same weights, and their losses agreed before a time counts."""
    job = result[name]
    of = job["compared with"]
    sizes = "-".join(map(str, job["sizes"]))
    rows = []
    for contender, row in sorted(measured(job).items(), key=lambda item: item[1]["median"]):
        share = f"{row['of matrix rate']:.0%}" if "of matrix rate" in row else "-"
        times = [f"{row[kind]:,.1f}" for kind in ("median", "min", "max")]
        rows.append(
            [contender, *times, f"{1 / row['ratio']:.2f}", f"{row['GFLOP/s']:,.0f}", share, f"{row['start s']:.1f}"]
        )
    head = ("", "µs a step", "least", "most", f"times as fast as {of}", "GFLOP/s", "of matrix rate", "s until warm")
    failed = [f"- {who}: {row['failure']}" for who, row in job["contenders"].items() if "failure" in row]
    told = (
        f"{sizes}, batch {job['batch']}, {job['samples']:,} images; medians of epochs, {job['rounds']} each, in turns, "
    )
    told += "from rows on the host to losses on the host. All have the same losses."
    return "\n\n".join(filter(None, [f"## {title}", told, table(head, rows), "\n".join(failed)]))


def _trained(result: dict[str, Any]) -> str:
    rows = []
    for name, history in result["train"].items():
        found, steps = history["accuracy"], history["steps"]
        rows.append(
            [name, f"{found:.4f}", f"{steps:,}", f"{history['seconds']:.2f}", f"{steps / history['seconds']:,.0f}"]
        )
    head = ("", "accuracy on the test digits", "steps", "s in steps", "steps/s, compilation included")
    return "## The main job\n\n`xpnet train`, 784-50-10, batch 100.\n\n" + table(head, rows) if rows else ""


def _tested(result: dict[str, Any]) -> str:
    stage = next((s for s in result["stages"] if s["name"] == "tests"), None)
    if stage is None:
        return ""
    rows, names = [], []
    for command in stage["commands"]:
        lines = command["tail"].splitlines()
        last = next((line.strip("= ") for line in reversed(lines) if " passed" in line or " failed" in line), "-")
        rows.append([command["name"], last, command["ended"] or f"status {command['status']}"])
        names += [f"- {command['name']}: {line}" for line in lines if line.startswith(("FAILED", "ERROR"))][:NAMES]
    return "\n\n".join(filter(None, ["## The tests", table(("", "pytest", ""), rows), "\n".join(names)]))


def _commands(result: dict[str, Any]) -> Iterable[str]:
    for stage in result["stages"]:
        for command in stage["commands"]:
            status = command["ended"] or f"status {command['status']}"
            tail = "\n".join(command["tail"].splitlines()[-LINES:])
            head = f"<summary>{stage['title']}, {command['name']}: {status}, {command['seconds']:.0f} s</summary>"
            said = f"{shlex.join(command['words'])}\n{tail}".replace("```", "'''")
            yield f"<details>{head}\n\n```\n{said}\n```\n\n</details>"


def crossover(bench: dict[str, Any] | None, path: Path) -> str:
    """The time of a step over the size of a minibatch, a panel for each width; returns what stands on the page."""
    cells = [c for c in (bench or {}).get("cells", []) if "seconds_per_step" in c]
    if not cells:
        path.unlink(missing_ok=True)
        return "Not measured."
    try:
        from xpnet.plotting import new_figure
        from xpnet.plotting import save as save_figure

        widths = sorted({c["hidden"] for c in cells})
        figure, axes = new_figure(len(widths))
    except ImportError as error:
        return f"Not drawn: {error}"
    names = list(dict.fromkeys(c["entrant"] for c in cells))
    colours = dict(zip(names, cycle(f"C{i}" for i in range(10)), strict=False))
    for width, ax in zip(widths, [axes] if len(widths) == 1 else list(axes), strict=True):
        for name in names:
            line = sorted(
                (c["batch_size"], c["seconds_per_step"] * 1e6)
                for c in cells
                if (c["hidden"], c["entrant"]) == (width, name)
            )
            style = "o--" if "cpu" in name.lower() else "s-"
            ax.plot(*zip(*line, strict=True), style, color=colours[name], markersize=4, label=name) if line else None
        ax.set(title=f"{width} hidden units", xlabel="batch size", ylabel="µs a step", xscale="log", yscale="log")
        ax.grid(alpha=0.3)
    handles = {h.get_label(): h for ax in figure.axes for h in ax.lines}
    figure.legend(handles=handles.values(), loc="outside right center")
    save_figure(figure, path)
    return f"![Microseconds a step over batch size; CPUs dashed, GPUs solid]({path.name})"

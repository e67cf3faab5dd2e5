"""``benchmarks/gpu.py``: stages that fail, hang or come too late lose no others, and what the page says of them."""

from __future__ import annotations

import argparse
import importlib
import json
import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

BENCHMARKS = Path(__file__).parents[2] / "benchmarks"

pytestmark = pytest.mark.skipif(os.name != "posix", reason="processes are stopped in groups, as POSIX has them")


@pytest.fixture
def scripts(monkeypatch):
    """Modules of the benchmarks by name; the import of one may add folders to the path."""
    monkeypatch.setattr(sys, "path", [str(BENCHMARKS), *sys.path])
    return importlib.import_module


@pytest.fixture
def stages(scripts):
    return scripts("gpu_stages")


def python(stages, name, code):
    return stages.Command(name, [sys.executable, "-c", code])


def taken(stages, *commands, most=20.0, least=1.0, left=60.0, together=False, folder="."):
    return stages.take(stages.Stage("s", "a stage", commands, most, least, together), left, Path(folder))


def test_what_fails_or_is_not_there_loses_nothing_of_the_others(stages, tmp_path):
    found = taken(
        stages,
        python(stages, "bad", "import sys; print('said', flush=True); sys.exit('no room')"),
        stages.Command("none", [str(tmp_path / "no such program")]),
        stages.Command(
            "good", [sys.executable, "-c", "import os; print(os.environ['TOLD'], os.getcwd())"], {"TOLD": "x"}
        ),
        folder=tmp_path,
    )
    bad, none, good = found
    assert (bad.status, bad.ended, bad.failed) == (1, "", True)
    assert bad.tail.split() == ["said", "no", "room"]
    assert (none.status, none.failed) == (None, True)
    assert none.ended.startswith("could not be begun")
    assert (good.status, good.failed) == (0, False)
    assert good.tail.split() == ["x", str(tmp_path)]


def test_what_hangs_is_stopped_with_all_that_it_began(stages, tmp_path, monkeypatch):
    monkeypatch.setattr(stages, "GRACE", 0.2)
    code = f"""
import os, pathlib, signal, time
signal.signal(signal.SIGINT, signal.SIG_IGN)
child = os.fork()
if child:
    pathlib.Path({str(tmp_path / "child")!r}).write_text(str(child))
    print("begun", flush=True)
time.sleep(60)
"""
    begun = time.monotonic()
    hangs, late = taken(stages, python(stages, "hangs", code), python(stages, "late", "print(1)"), most=4)
    assert time.monotonic() - begun < 20
    assert (hangs.failed, hangs.tail) == (False, "begun\n")
    assert hangs.ended.startswith("stopped after")
    assert (late.status, late.ended) == (None, "left out: the time of its stage was over")
    child = int((tmp_path / "child").read_text())
    for _ in range(100):
        if not running(child):
            break
        time.sleep(0.05)
    assert not running(child)


def running(process):
    """Whether it is there, and no zombie that nobody has waited for."""
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    status = Path(f"/proc/{process}/stat")
    return not status.exists() or status.read_text().rpartition(")")[2].split()[0] != "Z"


def test_an_interrupted_command_may_say_what_it_knows(stages):
    code = """
import time
print("a", flush=True)
try:
    time.sleep(60)
except KeyboardInterrupt:
    print("3 passed")
"""
    (found,) = taken(stages, python(stages, "tests", code), most=4)
    assert found.tail == "a\n3 passed\n"


def test_commands_of_a_stage_run_at_the_same_time_where_that_is_said(stages, tmp_path):
    code = f"""
import pathlib, sys, time
folder, mine, other = pathlib.Path({str(tmp_path)!r}), *sys.argv[1:]
(folder / mine).touch()
while not (folder / other).exists():
    time.sleep(0.01)
"""
    pair = [stages.Command(a, [sys.executable, "-c", code, a, b]) for a, b in (("one", "two"), ("two", "one"))]
    assert [o.status for o in taken(stages, *pair, together=True)] == [0, 0]


def test_what_does_not_fit_is_left_out_and_says_so(stages):
    (found,) = taken(stages, python(stages, "x", "raise SystemExit(1)"), least=30, left=12.4)
    assert (found.status, found.failed) == (None, False)
    assert found.ended == "left out: 12 s were left, and it takes 30 at the least"


def job(**medians):
    rows = {
        name.replace("_", "-"): {
            "median": median,
            "min": median,
            "max": median,
            "ratio": median / medians["torch_eager"],
            "GFLOP/s": 1e6 / median,
            "of matrix rate": 20 / median,
            "start s": 1.0,
        }
        for name, median in medians.items()
    }
    described = {"compared with": "torch-eager", "sizes": [784, 50, 10], "batch": 100, "samples": 60000, "rounds": 10}
    return {**described, "contenders": {**rows, "xpnet-torch": {"failure": "ValueError: a | b"}}}


@pytest.mark.parametrize(
    ("seed", "wide", "reached", "found"),
    [
        (
            job(torch_eager=300.0, xpnet_cupy=30.0, torch_graph=30.0, jax_scan=40.0),
            job(torch_eager=30.0, xpnet_cupy=23.5),
            [True, True, True],
            ["10.0 times", "1.00 of torch-graph", "85%"],
        ),
        (
            job(torch_eager=300.0, xpnet_cupy=31.0, torch_graph=40.0, jax_scan=29.0),
            job(torch_eager=30.0, xpnet_cupy=24.0),
            [False, False, False],
            ["9.7 times", "1.07 of jax-scan", "83%"],
        ),
        (job(torch_eager=300.0, jax_scan=20.0), None, [None] * 3, ["not measured"] * 3),
        (job(torch_eager=300.0, xpnet_cupy=20.0), None, [True, None, None], ["15.0 times", *["not measured"] * 2]),
    ],
)
def test_goals_are_reached_missed_or_not_measured(scripts, seed, wide, reached, found):
    goals = scripts("gpu_page").goals(seed, wide)
    assert [goal["reached"] for goal in goals] == reached
    assert [goal["found"] for goal in goals] == found


def test_a_rival_that_is_missing_is_told_beside_the_goal(scripts):
    goals = scripts("gpu_page").goals(job(torch_eager=300.0, xpnet_cupy=20.0, jax_scan=25.0), None)
    assert (goals[1]["reached"], goals[1]["note"]) == (True, "without torch-graph")


def outcome(name, *words, **known):
    return {"name": name, "words": words, "status": None, "ended": "", "tail": "", "seconds": 1.0} | known


FAILED = "FAILED t.py::x\n== 1 failed, 2 passed ==\n"
RESULT = {
    "device": "cuda",
    "trial": False,
    "tf32": False,
    "minutes": 8.0,
    "seconds": 321.0,
    "xpnet": "1.0",
    "machine": {"processor": "some"},
    "versions": {"cupy-cuda13x": "14.2"},
    "blas": "openblas 0.3",
    "threads": 16,
    "rates": {"cupy": {"device": "NVIDIA H100", "GFLOP/s": 51234.0}, "jax": {"failure": "there is no GPU"}},
    "card before": [{"name": "NVIDIA H100", "temperature.gpu": "31"}],
    "card after": [{"name": "NVIDIA H100", "temperature.gpu": "58"}],
    "seed": job(torch_eager=300.0, xpnet_cupy=30.0),
    "wide": None,
    "train": {"cupy": {"accuracy": 0.9712, "steps": 10000, "seconds": 0.5}},
    "goals": [{"goal": "a goal", "found": "9 times", "reached": False}],
    "stages": [
        {"name": "seed", "title": "Small", "commands": [outcome("seed", "a", "b c", status=0)]},
        {"name": "wide", "title": "Wide", "commands": [outcome("wide", "d", ended="left out: 3 s")]},
        {"name": "tests", "title": "The tests", "commands": [outcome("cupy", "t", status=1, tail=FAILED)]},
    ],
}


def test_the_page_has_what_was_found_and_why_the_rest_was_not(scripts):
    page = scripts("gpu_page").page(RESULT, "no picture")
    assert page.startswith("# xpnet on a GPU\n\n`python benchmarks/gpu.py`, 321 s of 480 s.\n")
    for line in (
        "| a goal | 9 times | **missed** |",
        "- cupy multiplies matrices at 51,234 GFLOP/s on NVIDIA H100",
        "- jax cannot be used: there is no GPU",
        "- factors of products: full float32, not TF32",
        "- after: name NVIDIA H100, temperature.gpu 58",
        "| xpnet-cupy | 30.0 | 30.0 | 30.0 | 10.00 | 33,333 | 67% | 1.0 |",
        "- xpnet-torch: ValueError: a | b",
        "| cupy | 0.9712 | 10,000 | 0.50 | 20,000 |",
        "| cupy | 1 failed, 2 passed | status 1 |",
        "- cupy: FAILED t.py::x",
        "<details><summary>Wide, wide: left out: 3 s, 1 s</summary>",
        "a 'b c'",
        "no picture",
    ):
        assert line in page.splitlines(), line


def test_the_picture_has_a_panel_for_each_width_and_a_line_for_each_entrant(scripts, tmp_path, monkeypatch):
    pytest.importorskip("matplotlib")
    plotting = importlib.import_module("xpnet.plotting")
    drawn = []
    usual = plotting.save
    monkeypatch.setattr(plotting, "save", lambda figure, path: (drawn.append(figure), usual(figure, path)))
    cells = [
        {"hidden": h, "batch_size": b, "entrant": e, "seconds_per_step": h * b * 1e-6}
        for h in (50, 2000)
        for b in (10, 100)
        for e in ("numpy cpu", "cupy cuda:0")
    ]
    said = scripts("gpu_page").crossover({"cells": [*cells, {"hidden": 7, "problem": "left out"}]}, tmp_path / "c.png")
    assert said.endswith("(c.png)")
    assert (tmp_path / "c.png").stat().st_size > 1000
    (figure,) = drawn
    assert [ax.get_title() for ax in figure.axes] == ["50 hidden units", "2000 hidden units"]
    lines = {line.get_label(): line for line in figure.axes[0].lines}
    assert list(lines["cupy cuda:0"].get_ydata()) == pytest.approx([500, 5000])
    assert (lines["numpy cpu"].get_linestyle(), lines["cupy cuda:0"].get_linestyle()) == ("--", "-")
    assert scripts("gpu_page").crossover(None, tmp_path / "c.png") == "Not measured."
    assert not (tmp_path / "c.png").exists()


def test_what_nvidia_smi_says_of_each_card(scripts, tmp_path, monkeypatch):
    gpu = scripts("gpu")
    monkeypatch.setenv("PATH", str(tmp_path))
    assert gpu.card() == []
    program = tmp_path / "nvidia-smi"
    program.write_text("#!/bin/sh\necho 'NVIDIA H100, 580.1, 81559 MiB'\necho 'NVIDIA H200, 580.1, 143771 MiB'\n")
    program.chmod(0o755)
    first, second = gpu.card()
    assert (first["name"], first["driver_version"], second["memory.total"]) == ("NVIDIA H100", "580.1", "143771 MiB")


@pytest.mark.parametrize("tf32", [False, True])
def test_the_most_valuable_comes_first_and_all_are_told_what_to_round_to(scripts, tmp_path, tf32):
    gpu = scripts("gpu")
    args = argparse.Namespace(device="cuda", minutes=8.0, threads=16, tf32=tf32, trial=False, out=tmp_path)
    found = gpu.stages(args, tmp_path, ["cupy", "jax"])
    names = ["seed", "wide", "train", "tests", "crossover"]
    assert [stage.name for stage in found] == [*names, *([] if tf32 else ["wide-tf32"])]
    assert all("TF32" in " ".join(c.environment) for s in found for c in s.commands)
    assert [c.name for c in found[2].commands] == [c.name for c in found[3].commands] == ["cupy", "jax"]
    assert ["--tf32" in s.commands[0].words for s in found[:2]] == [tf32, tf32]
    assert sum(stage.least for stage in found) < 8 * 60


@pytest.mark.slow
def test_without_a_gpu_it_says_so_in_one_line(tmp_path):
    words = [sys.executable, str(BENCHMARKS / "gpu.py"), "--out", str(tmp_path / "out")]
    told = os.environ | {"CUDA_VISIBLE_DEVICES": "", "JAX_PLATFORMS": "cpu"}
    done = subprocess.run(words, capture_output=True, text=True, env=told, cwd=tmp_path, check=False)
    assert (done.returncode, done.stdout) == (2, "")
    (line,) = done.stderr.splitlines()
    assert line.startswith("nothing computes on cuda here, and --device cpu --trial tries the rest: cupy: ")
    assert list(tmp_path.iterdir()) == []


def test_results_are_read_whole_or_not_at_all(scripts, tmp_path):
    gpu = scripts("gpu")
    (tmp_path / "seed.json").write_text('{"contenders": {"xpnet-')
    (tmp_path / "cupy").mkdir()
    history = {"losses": [2.3, 0.1], "seconds": 0.25, "evaluations": [{"validation_accuracy": 0.9}]}
    (tmp_path / "cupy" / "history.json").write_text(json.dumps(history))
    found = gpu.collected(tmp_path, [], real=True)
    assert (found["seed"], found["wide"]) == (None, None)
    assert found["train"] == {"cupy": {"accuracy": 0.9, "steps": 2, "seconds": 0.25}}
    assert [goal["reached"] for goal in found["goals"]] == [None] * 3

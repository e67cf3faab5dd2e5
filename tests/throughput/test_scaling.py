"""The model of many machines: fits against numbers of known formulas, and what it predicts in closed form."""

from __future__ import annotations

import importlib
import json
from math import log2
from pathlib import Path

import pytest

from xpnet import MultiLayerNet
from xpnet.throughput import Job

BENCHMARKS = Path(__file__).parents[2] / "benchmarks"


@pytest.fixture
def scaling(monkeypatch):
    monkeypatch.syspath_prepend(BENCHMARKS)
    return importlib.import_module("scaling")


def test_a_step_is_a_fixed_part_an_update_and_a_part_for_each_row(scaling):
    step = scaling.fit_step({n: 2e-3 + 3e-5 * n for n in (1000, 500, 250)}, 5e-4, 1000, 8)
    assert (step.fixed, step.update, step.row) == pytest.approx((1.5e-3, 5e-4, 3e-5))
    assert (step.rows, step.bytes) == (1000, 8)


def test_latency_and_bandwidth_are_found_in_sums_of_all_sizes(scaling):
    def seconds(p, n):
        return 2 * log2(p) * 4e-6 + 2 * (p - 1) / p * n / 2e9

    sums = scaling.fit_sum([(p, n, seconds(p, n)) for p in (2, 4) for n in scaling.SIZES])
    assert (sums.latency, sums.bandwidth) == pytest.approx((4e-6, 2e9))
    assert sums.seconds(8, 1000) == pytest.approx(seconds(8, 1000))


def test_large_sums_do_not_hide_what_small_ones_say(scaling):
    measured = [(2, 8, 1e-5), (2, 2**23, 2 * 2**23 / 2 / 1e9 * 1.1)]  # the large one is a tenth off
    sums = scaling.fit_sum([*measured, (2, 2**23, 2 * 2**23 / 2 / 1e9 * 0.9)])
    assert sums.latency == pytest.approx(5e-6, rel=0.01)


@pytest.mark.parametrize(
    ("seconds", "fixed", "row"),
    [
        ({100: 1.0, 50: 0.4, 25: 0.15}, 0.0, None),  # faster than in proportion: caches
        ({100: 1.0, 50: 1.1, 25: 1.2}, None, 0.0),  # noise alone
    ],
)
def test_no_part_of_a_step_is_negative(scaling, seconds, fixed, row):
    step = scaling.fit_step(seconds, 0.01, 100, 8)
    assert min(step.fixed, step.update) >= 0
    assert step.row >= 0
    assert fixed is None or step.fixed + step.update == fixed
    assert row is None or step.row == row


def test_predictions_in_closed_form(scaling):
    free = scaling.Sum(0.0, float("inf"))
    ideal = scaling.Step(0.0, 0.0, 1e-3, 1024, 10**6)
    assert scaling.predicted(ideal, free, 16) == pytest.approx((16, 1))
    half = scaling.Step(0.5, 0.0, 0.5 / 1024, 1024, 10**6)  # Amdahl's law
    assert scaling.predicted(half, free, 16)[0] == pytest.approx(1 / (0.5 + 0.5 / 16))
    assert scaling.predicted(half, free, 16, grows=True) == pytest.approx((16, 1))
    shared = scaling.Step(0.25, 0.25, 0.5 / 1024, 1024, 10**6)  # what is the same in all is a quarter
    assert scaling.predicted(shared, free, 16)[0] == pytest.approx(1 / (0.25 + 0.75 / 16))
    assert scaling.predicted(shared, free, 16, grows=True)[1] == pytest.approx(1 / (0.25 + 0.25 / 16 + 0.5))
    slow = scaling.Sum(0.125, float("inf"))  # of 16: 2 · 4 · 0.125 = 1 s
    assert scaling.predicted(ideal, slow, 16)[0] == pytest.approx(1.024 / (1.024 / 16 + 1))
    assert scaling.predicted(ideal, slow, 16, grows=True)[1] == pytest.approx(1.024 / 2.024)
    assert scaling.predicted(ideal, slow, 1) == (1, 1)


def test_a_network_is_no_faster_than_memory_and_adds_its_latency(scaling):
    here = scaling.Sum(2e-6, 5e9)
    slow, fast = (scaling.on_network(here, *scaling.NETWORKS[name]) for name in ("10 Gbit/s", "100 Gbit/s"))
    assert (slow.latency, slow.bandwidth) == pytest.approx((32e-6, 1.25e9))
    assert (fast.latency, fast.bandwidth) == pytest.approx((7e-6, 5e9))


def test_the_table_says_that_it_is_a_model(scaling):
    steps = {"a": scaling.Step(0.0, 0.0, 1e-3, 1024, 4), "b": scaling.Step(0.0, 0.0, 1e-3, 100, 4)}
    text = scaling.model_table(steps, scaling.Sum(0.0, float("inf")))
    lines = text.splitlines()
    assert lines[0].startswith("A model, not a measurement")
    cells = [[cell.strip() for cell in line.strip("|").split("|")] for line in lines[2:]]
    assert cells[0] == ["job", "network", *map(str, scaling.MACHINES)]
    assert [row[:2] for row in cells[2:]] == [[job, network] for job in "ab" for network in scaling.NETWORKS]
    assert cells[-1][-2].startswith("- (")  # 100 rows for 128 machines
    assert cells[2][2] == "8.0, 100% (100%)"  # of 1.024 s latencies are little
    assert {len(row) for row in cells} == {2 + len(scaling.MACHINES)}


@pytest.mark.parametrize("job", [Job(1000, 1000), Job(500, 100, depth=2, adam=True)])
def test_what_is_added_up_is_all_gradients(scaling, job):
    net = MultiLayerNet(784, [job.hidden] * job.depth, 10)
    assert scaling.gradient_bytes(job) == sum(p.nbytes for p in net.params.values())


def test_the_table_can_be_had_from_what_was_measured(scaling, tmp_path, monkeypatch, capsys):
    steps = {"wide": {"fixed": 1e-3, "update": 2e-4, "row": 3e-5, "rows": 1000, "bytes": 3 * 10**6, "measured": {}}}
    (tmp_path / "s.json").write_text(
        json.dumps({"efficiency": {}, "steps": steps, "sums": [[2, 8, 1e-5], [4, 2**20, 1e-3]]})
    )
    monkeypatch.setattr("sys.argv", ["scaling.py", "--only", "model", "--from", str(tmp_path / "s.json")])
    scaling.main()
    out = capsys.readouterr().out
    assert "wide: a = 1,000 µs, u = 200 µs, c = 30.00 µs a row, 1000 rows, 3.00 MB" in out
    assert "| wide | 10 Gbit/s |" in out


def test_what_the_model_says_of_two_processes_stands_beside_what_was_measured(scaling):
    steps, sums = (
        {"wide": scaling.Step(0.0, 0.0, 1e-3, 1000, 4), "deep": scaling.Step(0, 0, 1, 9, 4)},
        scaling.Sum(0.125, 1e9),
    )
    text = scaling.checked_text(steps, sums, {"wide": {"2": {"efficiency": 0.7}}, "seed": {}})  # 1 s, 0.5 s and 0.25 s
    assert text == "wide, two processes here: the model says efficiency 0.67, measured 0.70"


def test_an_update_is_a_part_of_a_step(scaling):
    assert 0 < scaling.update_seconds(Job(20, 100, adam=True), 0.05) < 0.05


def test_goals_are_said_to_be_reached_or_missed(scaling):
    row = {"µs a step": 1.0, "speed-up": 1.0, "of the least times": 1.0, "of processor time": 1.0}
    for efficiency, word in ((0.85, "reached"), (0.84, "missed")):
        text = scaling.efficiency_text("wide", {1: row | {"efficiency": 1.0}, 2: row | {"efficiency": efficiency}})
        assert text.splitlines()[-1] == f"  at least 0.85 on two cores: {word}"


def test_the_least_times_are_of_each_part_of_a_minibatch(scaling):
    asked = []

    class Alone:
        def ask(self, *, job, steps):
            asked.append((job["batch_size"], steps))
            noise = 1 + len(asked) % 5
            return {"seconds": steps * (1e-4 + 1e-5 * job["batch_size"]) * noise}

    found = scaling.part_seconds(Job(50, 100), Alone(), 0.05)
    assert found == pytest.approx({100: 1.1e-3, 50: 6e-4, 25: 3.5e-4})
    assert {batch for batch, _ in asked} == {100, 50, 25}

"""Several runs in one picture, from histories, their files and the folders of runs; and ``xpnet compare``."""

from __future__ import annotations

import json

import numpy as np
import pytest

from xpnet import Evaluation, History, plotting
from xpnet.plotting.runs import names_of, read_run

PNG = b"\x89PNG\r\n\x1a\n"


def history_of(rate, **settings):
    evaluations = [Evaluation(0, 0, 0.1, 0.1, 2.0, 2.0), Evaluation(1, 200, rate, rate / 2, 0.5, 0.6)]
    return History([2.0 - i * rate / 200 for i in range(200)], evaluations, 2000, 1.0, [rate] * 200)


@pytest.fixture
def runs(tmp_path):
    """One of each kind: a history, a file, and the folder of a run."""
    history_of(0.8).save(tmp_path / "b.json")
    (tmp_path / "c").mkdir()
    history_of(0.7).save(tmp_path / "c" / "history.json", settings={"lr": 0.5, "hidden": [50], "seed": 0})
    return {"a": history_of(0.9), "b": tmp_path / "b.json", "c": str(tmp_path / "c")}


def lines_of(ax):
    return {line.get_label(): line for line in ax.lines}


def test_histories_files_and_folders_are_drawn_alike(runs):
    left, right = plotting.compare(runs).axes
    assert [text.get_text() for text in left.get_legend().get_texts()] == ["a", "b", "c"]
    for label, rate in {"a": 0.9, "b": 0.8, "c": 0.7}.items():
        losses = np.reshape(history_of(rate).losses, (100, 2)).mean(axis=1)
        np.testing.assert_allclose(lines_of(left)[label].get_ydata(), losses)
        assert list(lines_of(right)[label].get_ydata()) == [0.1, rate]
    assert len({line.get_color() for line in right.lines}) == 3
    assert plotting.png(left.figure).startswith(PNG)


def test_paths_alone_are_called_by_their_names(runs):
    left, _ = plotting.compare([runs["b"], runs["c"]]).axes
    assert {"b.json", "c"} < set(lines_of(left))
    assert names_of(["x/run", "y/run"]) == ["x/run", "y/run"]
    assert names_of(["run", "run"]) == ["run (1)", "run (2)"]


def test_more_runs_than_colours():
    figure = plotting.compare({str(i): history_of(0.5 + i / 50) for i in range(12)})
    assert len(figure.axes[0].get_legend().get_texts()) == 12


def test_runs_without_a_metric_have_one_panel_and_numbers_that_are_not_finite_are_gaps(tmp_path):
    History([1.0, float("nan")], []).save(tmp_path / "a.json")
    (ax,) = plotting.compare([tmp_path / "a.json"]).axes
    np.testing.assert_array_equal(lines_of(ax)["a.json"].get_ydata(), [1, np.nan])


def test_a_file_gives_what_was_saved(runs, tmp_path):
    history, found = history_of(0.7), read_run(runs["c"])
    assert (found.losses, found.settings["lr"], found.samples_per_second) == (history.losses, 0.5, 2000)
    assert [e.validation_accuracy for e in found.evaluations] == [0.1, 0.35]
    assert found.evaluations[0].train_r2 is None


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("not JSON", "JSONDecodeError"),
        ("[]", "TypeError"),
        ("{}", "KeyError"),
        ('{"losses": ["x"], "evaluations": []}', "'x' is no number"),
        ('{"losses": [true], "evaluations": []}', "True is no number"),
        ('{"losses": [], "evaluations": [{}]}', "KeyError"),
        ('{"losses": [], "evaluations": [], "settings": 3}', "settings are no dict"),
        ("[" * 100_000, "Error"),
    ],
)
def test_what_is_no_history_is_refused(text, why, tmp_path):
    path = tmp_path / "history.json"
    path.write_text(text)
    with pytest.raises(ValueError, match=rf"history\.json is no history of a training.*{why}.*History\.save"):
        plotting.compare([tmp_path])


def test_what_is_no_run_is_refused(tmp_path):
    with pytest.raises(ValueError, match="runs is empty"):
        plotting.compare({})
    for runs in (History(), "run", 3):
        with pytest.raises(TypeError, match="runs is of type"):
            plotting.compare(runs)
    with pytest.raises(TypeError, match="a run is of type History; give histories by label"):
        plotting.compare([History()])
    with pytest.raises(TypeError, match="the run 'a' is of type list"):
        plotting.compare({"a": [1.0]})
    with pytest.raises(FileNotFoundError):
        plotting.compare([tmp_path / "nowhere"])


def test_the_command_has_a_table_and_a_picture(command, tmp_path, runs):
    for name, lr in {"one": 0.1, "two": 0.01}.items():
        (tmp_path / name).mkdir()
        history_of(lr).save(tmp_path / name / "history.json", settings={"lr": lr, "hidden": [50, 20], "seed": 0})
    done = command("compare", tmp_path / "one", tmp_path / "two", "--out", tmp_path / "new" / "both.png")
    assert done.exit_code == 0, done.output
    head, _, *rows = done.output.splitlines()
    assert head.split()[:2] == ["run", "lr"]
    assert [row.split() for row in rows[:2]] == [
        ["one", "0.1", "200", "0.5", "0.6", "10.00%", "5.00%", "2,000"],
        ["two", "0.01", "200", "0.5", "0.6", "1.00%", "0.50%", "2,000"],
    ]
    assert (tmp_path / "new" / "both.png").read_bytes().startswith(PNG)


def test_the_command_replaces_no_picture_unasked(command, tmp_path, runs):
    out = tmp_path / "both.svg"
    out.write_text("mine")
    done = command("compare", runs["c"], "--out", out)
    assert (done.exit_code, out.read_text()) == (1, "mine")
    assert "is there already; give another --out, or --overwrite" in done.output
    assert command("compare", runs["c"], "--out", out, "--overwrite").exit_code == 0
    assert out.read_bytes().startswith(b"<?xml")


def test_the_command_refuses_what_is_no_run_in_a_line(command, tmp_path):
    (tmp_path / "history.json").write_text(json.dumps({"losses": []}))
    for arguments, words in (
        ([tmp_path], "is no history of a training"),
        ([tmp_path / "nowhere"], "nowhere"),
        ([tmp_path, "--out", "a.jpg"], "one of: .png, .svg, .pdf"),
    ):
        done = command("compare", *arguments)
        assert done.exit_code == 1
        assert words in done.output
        assert len(done.output.splitlines()) == 1
    assert command("compare").exit_code == 2

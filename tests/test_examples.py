"""Every example, run as its reader would: the figures that the tutorials print, and the pictures it says it wrote."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

pytestmark = pytest.mark.slow

EXAMPLES = Path(__file__).parent.parent / "examples"
SHORT = {
    "train_mnist": ["--iterations", "100"],
    "optimizers_mnist": ["--iterations", "100"],
    "gradient_check": ["--samples", "2"],
    "own_layer": ["--iterations", "50"],
    "search": ["--settings", "3", "--iterations", "50"],
    "initializers_mnist": ["--iterations", "100"],
    "batch_norm_mnist": ["--iterations", "60"],
    "overfitting_mnist": ["--iterations", "150"],
    "random_search_mnist": ["--iterations", "40", "--trials", "6"],
    "convnet_filters_mnist": ["--iterations", "20"],
    "deep_convnet_mnist": ["--iterations", "10", "--samples", "200"],
}
NUMBER = r"-?\d+\.?\d*(?:e-?\d+)?"


@pytest.fixture(scope="module")
def outputs(tmp_path_factory, request):
    """What each example prints, by name; run once."""
    found = {}

    def run(name):
        if name.startswith("graph_"):
            request.getfixturevalue("graphviz")
        if name.startswith("sklearn_"):
            pytest.importorskip("sklearn", reason="scikit-learn is not installed, and this is among its estimators")
        if name not in found:
            folder = tmp_path_factory.mktemp(name)
            # what matplotlib calls is not ours to mend
            warned = ["-W", "error", "-W", "default::DeprecationWarning"]
            command = [sys.executable, *warned, EXAMPLES / f"{name}.py", *SHORT.get(name, [])]
            done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
            assert done.returncode == 0, done.stderr
            found[name] = done.stdout, folder
        return found[name]

    return run


@pytest.mark.parametrize("name", sorted(path.stem for path in EXAMPLES.glob("*.py")))
def test_an_example_runs_and_writes_what_it_says(name, outputs):
    printed, folder = outputs(name)
    wrote = set(re.findall(r"^wrote (\S+\.png)$", printed, re.MULTILINE))
    assert {str(path.relative_to(folder)) for path in folder.rglob("*.png")} == wrote
    assert all((folder / path).read_bytes().startswith(b"\x89PNG\r\n\x1a\n") for path in wrote)


@pytest.mark.parametrize("path", sorted(EXAMPLES.glob("*.py")), ids=lambda path: path.stem)
def test_an_example_is_short_and_has_a_japanese_title(path):
    text = path.read_text(encoding="utf-8")
    assert len(text.splitlines()) < 80
    assert re.search(r"[\u3040-\u30ff\u4e00-\u9fff]", text.splitlines()[0])
    assert '"--backend"' in text


def numbers(text):
    return [float(n) for n in re.findall(NUMBER, text)]


def test_numerical_gradient(outputs):
    lines = outputs("numerical_gradient")[0].splitlines()
    assert [numbers(line.partition(" is ")[2]) for line in lines[:3]] == [[6, 8], [0, 4], [6, 0]]


def test_gradient_descent(outputs):
    printed, _ = outputs("gradient_descent")
    ends = [numbers(line) for line in re.findall(r"ends at (\[.*\])", printed)]
    assert ends[0] == pytest.approx([-6.11110793e-10, 8.14814391e-10], rel=1e-3)  # x0 0.8^100
    assert ends[1] == pytest.approx([-2.99999994, 3.99999992], abs=1e-8)
    assert ends[2] == pytest.approx([-2 * 0.8**100, 3 * 0.8**100], rel=1e-3)
    assert ends[3] == pytest.approx([-2 * (1 - 2e-10) ** 100, 3 * (1 - 2e-10) ** 100], abs=1e-9)
    assert printed.count("the descent diverged") == 2


def test_descent_path(outputs):
    last = next(line for line in outputs("descent_path")[0].splitlines() if line.startswith("step 20"))
    x0, x1 = numbers(last.partition("x = ")[2])[:2]
    assert (x0, x1) == pytest.approx((1 - 0.8**20, 2 - 2 * 0.8**20), abs=1e-6)
    assert (x0, x1) == pytest.approx((1, 2), rel=0.02)


def test_simple_net(outputs):
    printed, _ = outputs("simple_net")
    assert numbers(printed.splitlines()[0])[:3] == pytest.approx([1.67822935, 0.34232817, -0.96192113], abs=1e-8)
    assert numbers(re.search(r"loss = (\S+)", printed)[1]) == pytest.approx([2.92853604814], abs=1e-8)
    expected = [0.06708443, 0.51711391, -0.58419835, 0.10062665, 0.77567087, -0.87629752]
    for title in ("numerically", "by backpropagation"):
        found = re.search(rf"dW, {title}:\n(.*\n.*)\n", printed)[1]
        assert numbers(found) == pytest.approx(expected, abs=2e-8)


def test_activations(outputs):
    printed, _ = outputs("activations")
    assert "sigmoid  of [-1.  1.  2.] is [0.26894142 0.73105858 0.88079708]" in printed
    assert "as the formula has it: [nan nan nan]" in printed
    assert numbers(printed.partition("taken off: ")[2].splitlines()[0]) == pytest.approx(
        [9.99954600e-01, 4.53978686e-05, 2.06106005e-09], rel=1e-8
    )


def test_gradient_check(outputs):
    printed, _ = outputs("gradient_check")
    means = [float(m) for m in re.findall(r"^[Wb][12]: (\S+)$", printed, re.MULTILINE)]
    assert len(means) == 4
    assert max(means) < 1e-10  # the book sees 1e-10 to 1e-8
    assert printed.count("\npassed: ") == 2


def test_line_fit(outputs):
    printed, _ = outputs("line_fit")
    best = float(re.search(r"closed form: w = (\S+)", printed)[1])
    fitted = {name: float(w) for name, w in re.findall(r"^(\w+) +w = (\S+),", printed, re.MULTILINE)}
    assert fitted["SGD"] == pytest.approx(best, abs=1e-3)
    assert all(abs(w - best) < 3 for w in fitted.values()), "nearer than where it started"


def test_optimizer_paths(outputs):
    """After 30 steps, by the rules in closed form where they have one: y ← y - 0.95 2 y, x ← x - 0.95 x / 10."""
    printed, _ = outputs("optimizer_paths")
    ends = {name: numbers(rest)[:2] for name, rest in re.findall(r"^(\w+) +\((.*?)\)", printed, re.MULTILINE)}
    assert len(ends) == 8
    assert ends["SGD"] == pytest.approx([-7 * 0.905**30, 2 * (-0.9) ** 30], abs=1e-4)
    values = [float(v) for v in re.findall(r"f = (\S+) after", printed)]
    assert all(v < 7**2 / 20 + 2**2 for v in values), "lower than where they started"


def test_optimizers_mnist(outputs):
    printed, _ = outputs("optimizers_mnist")
    losses = {name: float(loss) for name, loss in re.findall(r"^(\w+) +loss: train +(\S+) ", printed, re.MULTILINE)}
    assert len(losses) == 7
    assert all(loss < 2.35 for loss in losses.values())
    assert losses["Adam"] < losses["SGD"]


def test_train_mnist(outputs):
    assert re.search(
        r"iteration +100 +loss: .*  accuracy: train +\d+\.\d+%  validation +\d+\.\d+%", outputs("train_mnist")[0]
    )


def test_initializers_mnist(outputs):
    printed, _ = outputs("initializers_mnist")
    found = re.findall(r"^(tanh|relu) weights (\S+) +standard deviation, layer by layer: (.*)$", printed, re.MULTILINE)
    spread = {(activation, weights): numbers(rest) for activation, weights, rest in found}
    assert len(spread) == 6
    for activation in ("tanh", "relu"):
        first, *_, last = spread[activation, "0.01"]
        assert last < first / 1000  # (0.01 √100)⁴, and half of the variance again at each ReLU
    assert spread["relu", "he"][-1] == pytest.approx(spread["relu", "he"][0], rel=0.5)
    assert spread["relu", "xavier"][-1] < 0.5 * spread["relu", "xavier"][0]
    losses = {
        name: (float(a), float(b)) for name, a, b in re.findall(r"weights (\S+) +loss (\S+) .*, (\S+) in", printed)
    }
    assert losses["0.01"][1] == pytest.approx(np.log(10), abs=0.01)  # nothing was learnt
    assert losses["he"][1] < losses["xavier"][1] < losses["0.01"][1]


def test_batch_norm_mnist(outputs):
    printed, _ = outputs("batch_norm_mnist")
    pairs = re.findall(r"accuracy with (\S+)%, without (\S+)%", printed)
    assert len(pairs) == 16
    assert sum(float(a) > float(b) for a, b in pairs) >= 10
    assert f"at {sum(float(a) > float(b) for a, b in pairs)} of 16 scales" in printed


def test_overfitting_mnist(outputs):
    printed, _ = outputs("overfitting_mnist")
    gaps = {
        name.strip(): float(gap) for name, gap in re.findall(r"^(.{16}) accuracy: .*gap (\S+)%$", printed, re.MULTILINE)
    }
    assert len(gaps) == 3
    assert max(gaps["weight decay 0.1"], gaps["dropout 0.2"]) < gaps["nothing"]


def test_random_search_mnist(outputs):
    printed, _ = outputs("random_search_mnist")
    found = [float(a) for a in re.findall(r"^best +\d+: accuracy (\S+)%", printed, re.MULTILINE)]
    assert len(found) == 6
    assert found == sorted(found, reverse=True)


def test_convnet_filters_mnist(outputs):
    printed, folder = outputs("convnet_filters_mnist")
    assert float(re.search(r"not seen: (\S+)%", printed)[1]) > 30
    assert len(list(folder.rglob("*.png"))) == 2


def test_deep_convnet_mnist(outputs):
    printed, _ = outputs("deep_convnet_mnist")
    single, half = (float(a) for a in re.findall(r"precision: accuracy (\S+?)%", printed))
    assert abs(single - half) <= 2
    assert "247,104 bytes of weights" in printed  # two for each of 123,552
    difference, largest = re.search(r"differ by (\S+) at most, of (\S+);", printed).groups()
    assert float(difference) < 0.01 * float(largest)


def test_graph_shopping(outputs):
    printed, _ = outputs("graph_shopping")
    by_graph, by_layers = (numbers(line) for line in printed.splitlines()[-2:])
    assert by_graph == by_layers == [715, 2.2, 110, 3.3, 165, 650]
    assert printed.count("pay 4620, one yen more an apple makes it 2.2 yen more") == 2


def test_graph_chain_rule(outputs):
    printed, _ = outputs("graph_chain_rule")
    assert re.findall(r"^d\S+ .*= +(\d+)(?:, |$)", printed, re.MULTILINE) == ["1", "10", "10", "2"]
    pairs = re.findall(r"by the graph (\S+), .* = (\S+)", printed)
    assert len(pairs) == 2
    assert all(by_graph == formula for by_graph, formula in pairs)


def test_graph_network(outputs):
    differences = re.findall(r"differ by (\S+)$", outputs("graph_network")[0], re.MULTILINE)
    assert len(differences) == 4
    assert all(float(d) < 1e-10 for d in differences)


def test_own_layer(outputs):
    printed, _ = outputs("own_layer")
    assert printed.count(": nothing is wrong") == printed.count("passed: full, float64") == 3
    by_hand, by_graph, _ = re.findall(r"test accuracy after 50 iterations: (.*)%", printed)
    assert float(by_hand) == pytest.approx(float(by_graph), abs=0.5)  # the same layer twice


def test_sklearn_digits(outputs):
    printed, _ = outputs("sklearn_digits")
    shares = [float(share) for share in re.findall(r"(\S+)%", printed)]
    assert len(shares) == 3
    assert min(shares) > 90
    assert re.search(r"best of 4: \{'neuralnetclassifier__dropout': \S+, 'neuralnetclassifier__solver'", printed)
    assert "of type ndarray, its weights of (64, 50)" in printed


def test_search(outputs):
    lines = outputs("search")[0].splitlines()
    rows = re.findall(r"^ +(\d+) .* (\S+)%$", "\n".join(lines), re.M)  # validation accuracy is the last column
    rates = {int(number): float(rate) for number, rate in rows}
    best = int(re.search(r"best: number (\d+)", lines[-2])[1])
    assert (len(rates), rates[best]) == (3, max(rates.values()))

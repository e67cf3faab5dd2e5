"""What a person meets at a prompt and in a notebook: short texts, and tables and pictures where they say more.

Notebooks are executed where nbclient and ipykernel are installed; what IPython makes of a value is asked where IPython
is; and the methods that both call are called in any case.
"""

from __future__ import annotations

import pickle

import notebook
import numpy as np
import pytest

from xpnet import SGD, Adam, History, MultiLayerNet, Sequential, Trainer, TwoLayerNet, gradient_descent, plotting
from xpnet.layers import Affine, Chain, ReLU, Residual
from xpnet.optimizers import ClipByNorm

PNG = b"\x89PNG\r\n\x1a\n"
START = """
import numpy as np
from xpnet import SGD, Adam, Trainer, TwoLayerNet, check_gradient, gradient_descent, metrics, plotting
rng = np.random.default_rng(0)
x = rng.normal(size=(600, 3)).astype("float32")
t = (x[:, 0] * x[:, 1] > 0).astype("uint8")
net = TwoLayerNet(3, 8, 2, weight_init_std=0.5, seed=0, backend="numpy")
trainer = Trainer(net, SGD(lr=0.5), batch_size=20, seed=0)
f = lambda p: p[0] ** 2 + p[1] ** 2
"""
#: Cells, and what each shows beside text: a picture, a table, or a page that has both.
CELLS = {
    "trainer.fit(x, t, validation=(x, t), epochs=4, progress=False)": "page",
    "trainer.history": "page",
    "trainer": "page",
    "net": "table",
    "metrics.report(net.predict(x), t)": "table",
    "check_gradient(net, x[:5], t[:5], progress=False)": "table",
    "gradient_descent(f, np.asarray([3.0, -4.0]), lr=0.1)": "text",
    "metrics.regression_report(x, x + 1)": "table",
    "metrics.multilabel_report(x, x > 0)": "table",
    "plotting.training_curves(trainer.history)": "picture",
    "plotting.accuracy_curve(trainer.history)": "picture",
    "plotting.compare({'a': trainer.history, 'b': trainer.history})": "picture",
    "plotting.surface(f, points=5)": "picture",
    "plotting.contours(f, points=5)": "picture",
    "plotting.activation_histograms(plotting.activations(net, x))": "picture",
}


@pytest.mark.parametrize("way", notebook.WAYS)
def test_a_notebook_shows_what_there_is(way):
    pytest.importorskip("matplotlib", reason="pictures need matplotlib")
    first, *rest = CELLS
    outputs = notebook.shown(way, [START + first, *rest])
    assert len(outputs) == len(CELLS)
    for output, (cell, kind) in zip(outputs, CELLS.items(), strict=True):
        assert len(output["text/plain"]) < 300, cell
        assert " object at 0x" not in output["text/plain"], cell
        page = output.get("text/html", "")
        assert ("image/png" in output) == (kind == "picture" or "history" in cell or "fit" in cell), cell
        assert ("<table" in page) == (kind == "table" or cell == "trainer"), cell
        assert ("data:image/png;base64," in page) == (kind == "page"), cell
        if "image/png" in output:
            assert notebook.png(output).startswith(PNG), cell


def test_a_history_tells_how_it_ended(training_backend):
    net = TwoLayerNet(3, 8, 2, seed=0, backend=training_backend)
    x = training_backend.asarray(np.eye(3), "float32")
    t = training_backend.asarray(np.asarray([0, 1, 1]))
    history = Trainer(net, SGD(lr=0.1), batch_size=2, seed=0).fit(x, t, epochs=500, progress=False)
    last = history.evaluations[-1]
    short = Trainer(net, SGD(lr=0.1), batch_size=3, seed=0).fit(x, t, epochs=1, progress=False)
    assert repr(short).startswith("History(1 iteration, 1 epoch, ")
    assert repr(history).startswith("History(1,000 iterations, 500 epochs, ")
    assert repr(history).endswith(f"; loss: train {last.train_loss:#.4g} accuracy: train {last.train_accuracy:.2%})")
    assert repr(history) in history._repr_html_().replace("&amp;", "&")


def test_a_history_of_nothing_has_no_picture():
    assert repr(History()) == "History(0 iterations)"
    assert History()._repr_png_() is None
    assert History()._repr_html_() == "<pre>History(0 iterations)</pre>"


def test_without_matplotlib_a_notebook_has_the_text(monkeypatch):
    def missing(*_):
        raise plotting.PlottingUnavailableError("no matplotlib")

    monkeypatch.setattr(plotting, "training_curves", missing)
    history = History([1.0, 0.5])
    assert history._repr_png_() is None
    assert history._repr_html_() == "<pre>History(2 iterations)</pre>"


def test_a_deep_network_is_written_short():
    net = MultiLayerNet(3, [4] * 30, 2, seed=0)
    assert repr(net) == (
        "MultiLayerNet([Affine(3, 4), ReLU(), Affine(4, 4), ... 55 more ..., Affine(4, 4), ReLU(), Affine(4, 2)], "
        "SoftmaxWithLoss()) on numpy"
    )
    assert net._repr_html_().count("<tr>") == 61 + 2
    few = Sequential([Affine(3, 4), ReLU(), Affine(4, 2)], seed=0)
    assert repr(few) == "Sequential([Affine(3, 4), ReLU(), Affine(4, 2)], SoftmaxWithLoss()) on numpy"


def test_the_table_of_a_network_is_its_summary():
    net = Sequential([Affine(3, 4), Residual(Chain(Affine(4, 4), ReLU())), Affine(4, 2)], seed=0)
    page = net._repr_html_()
    for line in net.summary().splitlines()[2:]:
        assert f"<td>{'&nbsp;' * (len(line) - len(line.lstrip()))}{line.split()[0]}</td>" in page
    assert "Sequential, 46 parameters, SoftmaxWithLoss(), float32 on numpy (cpu)" in page


def test_a_trainer_says_what_it_does():
    net = TwoLayerNet(3, 4, 2, seed=0)
    trainer = Trainer(net, Adam(lr=0.01), transforms=(ClipByNorm(1.0),), batch_size=5)
    assert repr(trainer) == (
        f"Trainer({net!r}, Adam(lr=0.01), transforms=[{ClipByNorm(1.0)!r}], batch_size=5) after 0 iterations"
    )
    assert repr(trainer.transforms[0]) in trainer._repr_html_()
    assert "<img" not in trainer._repr_html_()


@pytest.mark.parametrize("n", [2, 100])
def test_a_descent_is_written_short(n, array, training_backend):
    found = gradient_descent(lambda p: training_backend.xp.sum(p**2), array(np.ones(n)), lr=0.1, steps=3)
    point = f"x = {training_backend.to_numpy(found.x).tolist()}" if n == 2 else "x of shape (100,)"
    assert repr(found) == f"Descent({point} after 3 steps, f: {found.values[0]:.6g} -> {found.values[-1]:.6g})"


def test_names_cannot_break_out_of_a_page():
    from xpnet import _html

    assert _html.table(["<b>"], [["  </td>&"]]).count("<b>") == 0
    assert "&nbsp;&nbsp;&lt;/td&gt;&amp;" in _html.table(["a"], [["  </td>&"]])
    assert '"x"' not in _html.picture(b"", '"x"')


def test_pictures_can_be_sent_and_are_shown_there():
    figure = pickle.loads(pickle.dumps(plotting.training_curves(History([1.0, 0.5]))))
    assert figure._repr_png_().startswith(PNG)
    assert figure.axes[0]._repr_png_().startswith(PNG)

"""Scripts in each chapter's manner, run as they are: what they print, draw, save and find."""

from __future__ import annotations

import pickle
import subprocess
import sys

import numpy as np
import pytest

from xpnet.book.run import errors_of

NET = """
    import sys, os
    sys.path.append(os.pardir)
    from common.layers import *
    from common.gradient import numerical_gradient
    import pickle

    class Net:
        def __init__(self):
            self.params = {"W1": 0.1 * np.random.randn(4, 1, 5, 5), "b1": np.zeros(4),
                           "W2": 0.1 * np.random.randn(576, 10), "b2": np.zeros(10)}
            self.conv = Convolution(self.params["W1"], self.params["b1"], stride=1, pad=0)
            self.affine = Affine(self.params["W2"], self.params["b2"])
            self.layers = [self.conv, Relu(), Pooling(pool_h=2, pool_w=2, stride=2), self.affine]
            self.last = SoftmaxWithLoss()

        def predict(self, x):
            for layer in self.layers:
                x = layer.forward(x)
            return x

        def loss(self, x, t):
            return self.last.forward(self.predict(x), t)

        def accuracy(self, x, t):
            return np.mean(np.argmax(self.predict(x), axis=1) == t)

        def gradient(self, x, t):
            self.loss(x, t)
            dout = self.last.backward()
            for layer in reversed(self.layers):
                dout = layer.backward(dout)
            return {"W1": self.conv.dW, "b1": self.conv.db, "W2": self.affine.dW, "b2": self.affine.db}

        def numerical(self, x, t, name):
            return numerical_gradient(lambda _: self.loss(x, t), self.params[name])

        def save(self):
            with open("net.pkl", "wb") as f:
                pickle.dump(dict(self.params), f)

        def load(self):
            with open("net.pkl", "rb") as f:
                for name, p in pickle.load(f).items():
                    self.params[name][...] = p
"""


def test_a_network_beside_the_script_is_trained_checked_and_saved(program, capsys):
    program.write("a_net.py", NET)
    told = program(
        "train.py",
        """
        import numpy as np
        from dataset.mnist import load_mnist
        from common.trainer import Trainer
        from a_net import Net

        (x_train, t_train), (x_test, t_test) = load_mnist(flatten=False)
        net = Net()
        image, t = np.random.rand(1, 1, 28, 28), np.asarray([[3]])
        for name, slope in net.gradient(image, t).items():
            if name != "W2":
                print(name, np.abs(slope - net.numerical(image, t, name)).mean() < 1e-4 * np.abs(slope).mean())
        Trainer(net, x_train, t_train, x_test, t_test, epochs=4, optimizer="Adam",
                optimizer_param={"lr": 0.01}, verbose=False).train()
        net.save()
        again = Net()
        again.load()
        print(again.accuracy(x_test, t_test) == net.accuracy(x_test, t_test) > 0.6)
        print([type(p).__name__ for p in again.params.values()])
        """,
    )
    assert told == []
    assert capsys.readouterr().out.splitlines() == ["W1 True", "b1 True", "b2 True", "True", str(["ndarray"] * 4)]
    assert pickle.loads((program.folder / "net.pkl").read_bytes())["W1"].shape == (4, 1, 5, 5)
    assert not {"a_net", "common", "dataset.mnist"} & sys.modules.keys()  # another chapter has its own


def test_a_script_finds_itself_its_arguments_and_what_lies_beside_it(program, capsys, monkeypatch, tmp_path):
    before = sys.argv[:], sys.path[:], tmp_path.cwd()
    (program.folder / "weights.txt").write_text("12")
    program(
        "where.py",
        """
        # coding: utf-8
        import os, sys
        from pathlib import Path
        with open("weights.txt") as f:
            print(__name__, Path(__file__).name, sys.argv[1:], Path.cwd().name, f.read())
        print(Path(sys.path[0]) == Path(__file__).parent, os.path.isabs(__file__))
        """,
        "--epochs",
        "3",
    )
    assert capsys.readouterr().out == "__main__ where.py ['--epochs', '3'] ch09 12\nTrue True\n"
    assert (sys.argv, sys.path, tmp_path.cwd()) == before


def test_floats_are_moved_by_each_optimizer(program, capsys):
    program(
        "naive.py",
        """
        from collections import OrderedDict
        from common.optimizer import *

        params, grads = {}, {"x": 0, "y": 0}
        for kind in (SGD(lr=0.95), Momentum(lr=0.1), AdaGrad(lr=1.5), Adam(lr=0.3)):
            params["x"], params["y"] = -7.0, 2.0
            for i in range(30):
                grads["x"], grads["y"] = params["x"] / 10.0, 2.0 * params["y"]
                kind.update(params, grads)
            print(type(params["x"]).__name__, params["x"] ** 2 / 20 + params["y"] ** 2)
        """,
    )
    lines = capsys.readouterr().out.splitlines()
    assert [line.split()[0] for line in lines] == ["float"] * 4
    values = [float(line.split()[1]) for line in lines]
    assert values[0] == pytest.approx((7 * 0.905**30) ** 2 / 20 + (2 * 0.9**30) ** 2)  # a straight way down for each
    assert max(values) < 2  # from 6.45


def test_pictures_are_saved_beside_the_script_and_told(program):
    plt = pytest.importorskip("matplotlib.pyplot")
    show = plt.show
    told = program(
        "waves.py",
        """
        import numpy as np
        import matplotlib.pylab as plt
        x = np.arange(0, 6, 0.1)
        plt.plot(x, np.sin(x))
        plt.show()
        plt.figure()
        plt.plot(x, np.cos(x))
        plt.figure()
        plt.hist(np.random.randn(50))
        plt.show()
        """,
    )
    paths = [program.folder / name for name in ("waves.png", "waves-2.png", "waves-3.png")]
    assert told == [f"figure saved: {path}" for path in paths]
    assert all(path.read_bytes().startswith(b"\x89PNG") for path in paths)
    assert plt.show is show
    assert not plt.get_fignums()


def test_an_image_is_saved_where_nothing_can_show_it(program):
    image = pytest.importorskip("PIL.Image")
    told = program(
        "digit.py",
        """
        from dataset.mnist import load_mnist
        import numpy as np
        from PIL import Image
        (x, t), _ = load_mnist(normalize=False)
        Image.fromarray(np.uint8(x[0].reshape(28, 28))).show()
        """,
    )
    assert told == [f"figure saved: {program.folder / 'digit.png'}"]
    with image.open(program.folder / "digit.png") as picture:
        assert picture.size == (28, 28)


def test_filters_are_applied_to_a_picture_of_our_own_where_the_books_is_missing(program, capsys):
    pytest.importorskip("matplotlib")
    told = program(
        "filters.py",
        """
        import numpy as np
        from matplotlib.image import imread
        import matplotlib.pyplot as plt
        from common.layers import Convolution
        img = imread("../dataset/lena_gray.png")
        out = Convolution(np.random.randn(1, 1, 5, 5), 0).forward(img.reshape(1, 1, *img.shape))
        print(img.ndim, img.dtype, out.shape[2] == img.shape[0] - 4, float(np.ptp(out)) > 1)
        print(plt.imread("../dataset/lena.png").shape[2])
        """,
    )
    assert capsys.readouterr().out.splitlines() == ["2 float32 True True", "3"]
    assert told[0] == "../dataset/lena_gray.png is not there: a picture of xpnet's own stands in for it"
    with pytest.raises(FileNotFoundError):
        program("other.py", "from matplotlib.image import imread\nimread('../elsewhere/lena_gray.png')")


def test_a_pickle_that_would_run_something_is_refused(program):
    (program.folder / "bad.pkl").write_bytes(b'cbuiltins\nexec\n(S\'open("ran", "w")\'\ntR.')
    with pytest.raises(pickle.UnpicklingError, match=r"bad\.pkl: it asks for builtins\.exec, which was not called"):
        program("load.py", "import pickle\nwith open('bad.pkl', 'rb') as f:\n    pickle.load(f)")
    assert not (program.folder / "ran").exists()


def test_the_books_own_modules_go_first_if_asked_for(program, capsys):
    theirs = program.folder.parent / "common"
    theirs.mkdir()
    (theirs / "functions.py").write_text("def sigmoid(x):\n    return 'theirs'\n")
    (program.folder.parent / "dataset").mkdir()
    text = "import sys\nsys.path.append('..')\nfrom common.functions import sigmoid\nprint(sigmoid(0.0))\n"
    text += "from dataset.mnist import load_mnist\nprint(load_mnist.__module__)"
    told = program("which.py", text, own=True)
    assert capsys.readouterr().out.split() == ["theirs", "xpnet.book.mnist"]
    assert told == [f"common: {theirs}", "dataset: served by xpnet"]
    assert program("which.py", text) == []
    assert capsys.readouterr().out.split() == ["0.5", "xpnet.book.mnist"]


def test_an_error_is_told_from_the_scripts_first_line_on(program, capsys):
    program.write("helper.py", "def divide(x):\n    return 1 / x\n")
    text = "from helper import divide\n\ndivide(0)\n"
    path = program.write("wrong.py", text)
    with pytest.raises(SystemExit) as end, errors_of(path):
        program("wrong.py", text)
    told = capsys.readouterr().err
    assert end.value.code == 1
    assert told.startswith(f'Traceback (most recent call last):\n  File "{path}", line 3, in <module>')
    assert told.endswith("ZeroDivisionError: division by zero\n")
    assert "runpy" not in told
    with pytest.raises(SystemExit), errors_of(path):
        program("wrong.py", "x = = 1")
    assert "SyntaxError" in capsys.readouterr().err


def test_a_library_that_is_missing_is_told_with_what_brings_it(program, monkeypatch):
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    with pytest.raises(ModuleNotFoundError) as caught:
        program("draw.py", "import matplotlib")
    assert caught.value.__notes__ == ['pip install "xpnet[plot]" installs it']


def test_python_m_runs_it_in_a_process_of_its_own(program):
    script = program.write("own.py", "from common.functions import *\nprint(sigmoid(np.zeros(1)), __name__)\n")
    done = subprocess.run(
        [sys.executable, "-m", "xpnet.book", str(script)],
        capture_output=True,
        text=True,
        check=False,
        cwd=script.parent,
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, "[0.5] __main__\n", "")


def test_the_command_runs_a_script_and_says_what_is_wrong(command, few_digits, tmp_path):
    script = tmp_path / "hungry.py"
    script.write_text("import sys\nprint('hungry', sys.argv[1:])\n")
    done = command("book", "hungry.py", "--lr", "1")
    assert (done.exit_code, done.output) == (0, "hungry ['--lr', '1']\n")
    done = command("book", "hungri.py")
    assert done.exit_code == 1
    assert "Error: there is no script hungri.py; it has: hungry.py" in done.output
    assert "there is no folder nowhere either" in command("book", "nowhere/a.py").output
    assert "is a folder, expected a script" in command("book", ".").output
    script.write_text("from common.layers import LSTM\n")
    done = command("book", "hungry.py")
    assert done.exit_code == 1
    assert "ImportError: common.layers has no LSTM" in done.output
    assert np.__name__ == "numpy"

"""A namespace that stands in for a device's: the whole script computes with it, and what draws gets NumPy's arrays."""

from __future__ import annotations

import pickle
from types import SimpleNamespace

import numpy as np
import pytest

from xpnet.backends.dispatch import BackendUnavailableError, backend_status
from xpnet.book.devices import Device, Numbers, device_of


class OnDevice(np.ndarray):
    """An array that is known by its class."""


def wrapped(found):
    if isinstance(found, np.ndarray):
        return found.view(OnDevice)
    if callable(found) and not isinstance(found, type):
        return lambda *args, **options: wrapped(found(*args, **options))
    return found


class Library:
    """NumPy's functions with arrays of the device, without ``nditer``."""

    random = SimpleNamespace(**{n: wrapped(getattr(np.random, n)) for n in ("rand", "randn", "choice", "permutation")})

    def __dir__(self):
        return dir(np)

    def __getattr__(self, name):
        if name == "nditer":
            raise AttributeError(name)
        return wrapped(getattr(np, name))


DEVICE = Device("standin", Library(), OnDevice, lambda x: x.view(np.ndarray))


def test_numpy_is_the_devices_in_the_script_and_beside_it_and_nowhere_else(program, capsys):
    program.write("beside.py", "import numpy\nimport numpy as np\nkind = type(numpy.zeros(2)).__name__\n")
    program(
        "kinds.py",
        """
        import json  # whose numbers are Python's
        import numpy as np
        import numpy.random as random
        from numpy import arange
        from numpy.random import rand
        from beside import kind
        from common.optimizer import np as theirs
        from common.multi_layer_net_extend import MultiLayerNetExtend
        from dataset.mnist import load_mnist
        (x, t), _ = load_mnist(one_hot_label=True)
        net = MultiLayerNetExtend(784, [5], 10, use_dropout=True, use_batchnorm=True)
        grads = net.gradient(x[:3], t[:3])
        found = [np.ones(2), random.rand(2), arange(2), rand(2), x, t, *net.params.values(), *grads.values()]
        print({type(a).__name__ for a in [*found, net.predict(x[:2])]}, kind, theirs is np)
        print(np.uint8(np.asarray([1.7])), np.uint8(3.2), np.zeros(1, dtype=np.float16).dtype, "pi" in dir(np))
        """,
        device=DEVICE,
    )
    assert capsys.readouterr().out.splitlines() == ["{'OnDevice'} OnDevice True", "[1] 3 float16 True"]
    assert type(np.zeros(2)) is np.ndarray
    assert np.asarray([0.5]).mean() == 0.5


def test_pickles_hold_arrays_of_numpy(program, capsys):
    program(
        "keep.py",
        """
        import numpy as np
        import pickle
        with open("w.pkl", "wb") as f:
            pickle.dump({"W": np.ones(3)}, f)
        with open("w.pkl", "rb") as f:
            print(type(pickle.load(f)["W"]).__name__, type(pickle.loads(pickle.dumps({"b": np.ones(1)}))["b"]).__name__)
        """,
        device=DEVICE,
    )
    assert capsys.readouterr().out == "OnDevice OnDevice\n"
    assert type(pickle.loads((program.folder / "w.pkl").read_bytes())["W"]) is np.ndarray


def test_what_draws_gets_arrays_of_the_host(program, monkeypatch):
    axes = pytest.importorskip("matplotlib.axes")
    taken = []
    for name in ("plot", "imshow", "hist"):
        method = getattr(axes.Axes, name)

        def noting(self, *args, method=method, **options):
            taken.extend(args)
            return method(self, *args, **options)

        monkeypatch.setattr(axes.Axes, name, noting)
    before = axes.Axes.plot
    told = program(
        "draw.py",
        """
        import numpy as np
        import matplotlib.pyplot as plt
        from matplotlib.image import imread
        from common.util import smooth_curve
        fig = plt.figure()
        fig.add_subplot(2, 2, 1).imshow(np.ones((3, 3)))
        plt.subplot(2, 2, 2)
        plt.plot(np.arange(12), smooth_curve([np.asarray(1.0)] * 12))
        plt.plot([np.asarray(1.0), np.asarray(2.0)])
        plt.hist(np.arange(5).flatten())
        plt.imshow(imread("../dataset/lena_gray.png"))
        plt.xlim(np.asarray([0, 1]))
        plt.show()
        """,
        device=DEVICE,
    )
    assert len(taken) == 6
    for each in taken:
        assert not isinstance(each, OnDevice)
        assert not isinstance(each, list) or not any(isinstance(number, OnDevice) for number in each)
    assert told[-1].startswith("figure saved: ")
    assert axes.Axes.plot is before


def test_what_the_device_has_not_is_told_with_the_line(program):
    with pytest.raises(
        AttributeError, match=r"odd\.py, line 3: np\.nditer is not there on backend 'standin'"
    ) as caught:
        program("odd.py", "import numpy as np\nx = np.ones(2)\nnp.nditer(x)\n", device=DEVICE)
    assert caught.value.__notes__ == [
        "odd.py, line 3: np is the namespace of backend 'standin' here; --backend numpy has NumPy's"
    ]
    with pytest.raises(AttributeError):
        _ = Numbers(DEVICE).__nothing__


def test_which_backends_have_a_namespace_like_numpys():
    assert device_of("numpy") is None
    with pytest.raises(ValueError, match="backend 'jax' has no namespace like NumPy's"):
        device_of("jax")
    problem = backend_status("cupy").problem
    if problem:
        with pytest.raises(BackendUnavailableError, match="cupy"):
            device_of("cupy")
    else:
        device = device_of("cupy")
        assert device.host([device.library.zeros(2)])[0].tolist() == [0, 0]

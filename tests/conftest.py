"""``pytest --backend numpy,strict``: each test that takes ``backend`` runs once on every backend named."""

from __future__ import annotations

import os
import signal
from fnmatch import fnmatch
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import pytest
from click.testing import CliRunner

from xpnet.backends.dispatch import BackendUnavailableError, backend_names, backend_status, get_backend
from xpnet.cli import common, main
from xpnet.datasets import mnist
from xpnet.training import compiled

# pytest keeps the assertions of test modules, also under python -O; those of what they share have to be named
pytest.register_assert_rewrite(*(path.stem for path in (Path(__file__).parent / "helpers").glob("*.py")))

#: NumPy whose arrays are locked: it finds whatever writes into what it was given.
READONLY = "readonly"
DEFAULT = "numpy,readonly,strict"
#: Tests side by side fill the cores already: with more threads than one in each, these mostly wait for each other.
THREADS = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")

#: Files of tests that would not notice another kernel of BLAS. All others, new ones too, are marked ``numbers``.
WITHOUT_NUMBERS = """
architecture cli/bench cli/cli cli/train datasets/datasets docs drawing/files drawing/server graph/drawing graph/files
graph/folding graph/pictures graph/text notebook plotting/compare plotting/crossover plotting/mistakes
plotting/pictures plotting/plotting plotting/scaling serialization/atomic throughput/gpu throughput/processes
throughput/scaling throughput/throughput training/checkpoint_crash training/checkpoint_files training/history
training/logs training/minibatches training/progress
"""


#: Files of tests in which the backend's device is not the current one, of libraries that have such: networks, and
#: whatever takes them, have to see to that. All others call functions of arrays, which compute on the current device.
ELSEWHERE = """
book cli/* datasets/* drawing/* gradient/* metrics metrics_kinds models/* onnx/* parallel/* serialization/* streams
training/* validation
"""


def pytest_addoption(parser):
    known = ", ".join((READONLY, *backend_names()))
    parser.addoption(
        "--backend", default=DEFAULT, help=f"comma-separated: {known}; or all that can be used here (default {DEFAULT})"
    )
    parser.addoption("--device", default=None, help="the device of the backends named, cuda for example")


def pytest_configure(config):
    os.environ.setdefault("JAX_ENABLE_X64", "1")  # before JAX is imported: the oracles are in float64
    os.environ.setdefault("SCIPY_ARRAY_API", "1")  # before SciPy is: scikit-learn takes no arrays but NumPy's otherwise
    if config.getoption("numprocesses", None):  # workers, which are not started yet and inherit this
        os.environ.update({name: os.environ.get(name, "1") for name in THREADS})
    home = os.path.expanduser("~")  # noqa: PTH111  (that of Path raises where there is none)
    if "MPLCONFIGDIR" not in os.environ and not os.access(home, os.W_OK):
        folder = TemporaryDirectory()  # else matplotlib makes one, and says so on standard error
        config.add_cleanup(folder.cleanup)
        os.environ["MPLCONFIGDIR"] = folder.name
    names = selected(config)
    unknown = [name for name in names if name not in (READONLY, *backend_names())]
    if unknown:
        known = ", ".join((READONLY, *backend_names()))
        raise pytest.UsageError(f"--backend: unknown {', '.join(unknown)}; known: {known}, all")


def selected(config) -> list[str]:
    """The names to test: those given, or for ``all`` every backend that can be used here."""
    value = config.getoption("--backend")
    if value != "all":
        return value.split(",")
    return ["numpy", READONLY, *(name for name in backend_names()[1:] if name not in absent(config))]


def absent(config) -> dict[str, str]:
    """Why ``all`` leaves backends out, by name."""
    statuses = [backend_status(name) for name in backend_names()] if config.getoption("--backend") == "all" else []
    return {status.name: status.problem for status in statuses if status.problem}


def pytest_report_header(config):
    return f"xpnet backends: {', '.join(selected(config))}; device: {config.getoption('--device') or 'default'}"


def no_graphviz() -> str | None:
    """Why Graphviz cannot draw here: its wheel leans on libraries of the system that small containers lack."""
    try:
        import pygraphviz  # noqa: F401
    except ImportError as error:
        return str(error)
    return None


@pytest.fixture(scope="session")
def graphviz():
    """For tests that draw with it: skipped where it cannot, and the summary says why."""
    if problem := no_graphviz():
        pytest.skip(f"Graphviz: {problem}")


def pytest_terminal_summary(terminalreporter, config):
    if problem := no_graphviz():
        terminalreporter.write_line(f"NOT TESTED: pictures by Graphviz: {problem}", yellow=True)
    for name, problem in absent(config).items():
        terminalreporter.write_line(f"NOT TESTED on {name}: {problem}", yellow=True)


def name_of(path: Path) -> str:
    """The name of a file of tests: ``graph/text`` of ``tests/graph/test_text.py``."""
    name = path.stem.removeprefix("test_")
    return name if path.parent == Path(__file__).parent else f"{path.parent.name}/{name}"


def pytest_collection_modifyitems(items):
    for item in items:
        if name_of(item.path) not in WITHOUT_NUMBERS.split():
            item.add_marker("numbers")
        if "backend_name" in item.fixturenames:
            item.add_marker("on_backends")


def pytest_generate_tests(metafunc):
    if "backend_name" in metafunc.fixturenames:
        metafunc.parametrize("backend_name", selected(metafunc.config), scope="session")


@pytest.fixture(scope="session")
def backend(backend_name, pytestconfig):
    """The backend of this run of the test; where it cannot be had, the test is skipped and the summary says why."""
    device = pytestconfig.getoption("--device")
    name = "numpy" if backend_name == READONLY else backend_name
    if name == "strict":
        device = "device1"  # not the one that arrays are on when nobody says where
    elif name in ("numpy", "dask"):  # they have one device, the CPU
        device = None
    try:
        return get_backend(name, device)
    except BackendUnavailableError as error:
        pytest.skip(str(error))


@pytest.fixture(autouse=True)
def compile_anew():
    """What was compiled in the tests before is not there, as parts that a test replaces are not among what is equal."""
    compiled.forget()


@pytest.fixture(scope="session")
def training_backend(backend):
    if not backend.trains:
        pytest.skip(f"{backend.name} runs forward passes only")
    return backend


@pytest.fixture
def at_home(backend):
    """The backend's device is the current one."""
    with backend.current():
        yield


@pytest.fixture(autouse=True)
def current_device(request):
    """See ``ELSEWHERE``."""
    elsewhere = any(fnmatch(name_of(request.path), pattern) for pattern in ELSEWHERE.split())
    if "backend_name" in request.fixturenames and not elsewhere:
        request.getfixturevalue("at_home")


@pytest.fixture
def array(backend, backend_name):
    """``array(values, dtype)``: an array of the backend, locked where it can be."""

    def make(values, dtype=None):
        host = np.array(values, dtype=dtype)
        if backend_name == READONLY:
            host.setflags(write=False)
            return host
        return backend.asarray(host, copy=True)

    return make


@pytest.fixture
def rng():
    return np.random.default_rng(20160924)


@pytest.fixture(scope="session")
def digits():
    """MNIST as the tutorials load it."""
    return mnist()


@pytest.fixture(scope="session")
def some_digits(digits):
    """A tenth of MNIST."""
    (x_train, t_train), (x_test, t_test) = digits
    return (x_train[:6000], t_train[:6000]), (x_test[:1000], t_test[:1000])


def pixels(digits, normalize=True):
    """Digits of ``mnist()`` as it gives them with this option."""
    return digits if normalize else tuple((np.rint(x * 255).astype(np.uint8), t) for x, t in digits)


@pytest.fixture
def command(monkeypatch, some_digits, tmp_path):
    """``command(*arguments, NAME=value)``: ``xpnet`` in this process, in an empty folder, with some of MNIST."""
    monkeypatch.setattr(common, "mnist", partial(pixels, some_digits))
    monkeypatch.delenv("XPNET_BACKEND", raising=False)
    monkeypatch.chdir(tmp_path)

    def invoke(*arguments, **environment):
        return CliRunner().invoke(main, [str(a) for a in arguments], env=environment)

    return invoke


@pytest.fixture
def ctrl_c():
    """Ctrl-C as a program has it at its start: a shell has it ignored in the background, and children inherit that."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)

"""A killed process, a full disk, a folder that cannot be written: what was saved stays loadable."""

from __future__ import annotations

import errno
import os
import subprocess
import sys
import tempfile
from contextlib import contextmanager
from pathlib import Path

import checkpoint_cases as cases
import pytest

from xpnet.backends.dispatch import get_backend
from xpnet.serialization import atomic

pytestmark = pytest.mark.skipif(not hasattr(os, "fork"), reason="kills and limits need fork and POSIX")
SOAK = Path(__file__).parents[2] / "benchmarks" / "soak.py"
HELPERS = Path(__file__).parents[1] / "helpers"


def run(script, *arguments):
    """A script in a process of its own, beside the helpers of the tests."""
    code = f"import sys; sys.path.insert(0, {str(HELPERS)!r})\n{script}"
    command = [sys.executable, "-c", code, *map(str, arguments)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300, check=False, env=cases.ONE_THREAD)
    assert done.returncode == 0, done.stderr
    return done.stdout


#: Saves one trainer, then another, and so on, until it is killed; fifty times, at random moments. After each, the file
#: is wholly one of the two.
KILLS = """
import os, random, signal, time
import checkpoint_cases as cases
from xpnet import Trainer
path, moments = sys.argv[1], random.Random(8)
trainers = [cases.trained(cases.trainer_of(case, "numpy"), 7) for case in ("adam", "momentum")]
expected = [cases.contents(trainer) for trainer in trainers]
trainers[0].save(path)
found, most = [], 0
for _ in range(50):
    child = os.fork()
    while not child:
        for trainer in trainers:
            trainer.save(path)
    time.sleep(moments.uniform(0.005, 0.05))
    os.kill(child, signal.SIGKILL)
    _, status = os.waitpid(child, 0)
    assert os.waitstatus_to_exitcode(status) == -signal.SIGKILL
    contents = cases.contents(Trainer.load(path, backend="numpy"))
    assert contents in expected
    found.append(expected.index(contents))
    most = max(most, len(os.listdir(os.path.dirname(path))) - 1)
assert set(found) == {0, 1}, "each was found at times, so it was saving"
assert most <= 1, f"{most} files were left over"
trainers[0].save(path)
assert len(os.listdir(os.path.dirname(path))) == 1
"""


def test_fifty_kills_while_saving_leave_one_of_two_whole_files(tmp_path):
    run(KILLS, tmp_path / "checkpoint")


#: A disk on which 20,000 bytes are left, for one file.
FULL = """
import resource
import checkpoint_cases as cases
from xpnet import Trainer
trainer = cases.trained(cases.trainer_of("adam", "numpy"), 7)
trainer.save(sys.argv[1])
before = cases.contents(trainer)
resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, 20_000))
cases.trained(trainer, 2000)
for save in (trainer.save, trainer.history.save):
    try:
        save(sys.argv[1])
    except OSError as error:
        assert sys.argv[1] in str(error), error
    else:
        raise SystemExit("it was written")
assert cases.contents(Trainer.load(sys.argv[1], backend="numpy")) == before
"""


def test_a_full_disk_leaves_the_old_file_and_nothing_else(tmp_path):
    run(FULL, tmp_path / "checkpoint")
    assert [path.name for path in tmp_path.iterdir()] == ["checkpoint"]


READ_ONLY = """
import os
import checkpoint_cases as cases
from xpnet import Trainer
trainer = cases.trained(cases.trainer_of("adam", "numpy"), 7)
import safetensors.numpy  # whoever may not write there may not read the libraries either
if os.getuid() == 0:
    os.setuid(65534)
try:
    trainer.save(sys.argv[1])
except PermissionError as error:
    assert sys.argv[1] in str(error), error
else:
    raise SystemExit("it was written")
assert Trainer.load(sys.argv[1], backend="numpy").iteration == 3
"""


@pytest.fixture
def read_only():
    """A folder outside of those that only their owner may enter, to be locked."""
    with tempfile.TemporaryDirectory(prefix="xpnet-test-") as folder:
        path = Path(folder)
        path.chmod(0o755)
        yield path
        path.chmod(0o755)


def test_a_folder_that_cannot_be_written_keeps_what_was_saved(read_only):
    path = read_only / "checkpoint"
    cases.trained(cases.trainer_of("adam", get_backend("numpy")), 3).save(path)
    read_only.chmod(0o555)
    run(READ_ONLY, path)
    assert [left.name for left in read_only.iterdir()] == ["checkpoint"]


def test_what_killed_writes_left_is_deleted_by_the_next_write(tmp_path):
    for name in (".xpnet-abcd1234.tmp", ".xpnet-________.tmp", "kept", ".xpnet-kept", ".xpnet-abcd1234.tmp.kept"):
        (tmp_path / name).write_bytes(b"a part")
    (tmp_path / ".xpnet-folder12.tmp").mkdir()
    (tmp_path / ".xpnet-linked12.tmp").symlink_to(tmp_path / "kept")
    atomic.write_bytes(tmp_path / "file", b"whole")
    left = {".xpnet-abcd1234.tmp.kept", ".xpnet-folder12.tmp", ".xpnet-kept", ".xpnet-linked12.tmp", "file", "kept"}
    assert {path.name for path in tmp_path.iterdir()} == left


def test_what_another_process_is_writing_is_not_deleted(tmp_path, monkeypatch):
    """In the middle of a write, somebody else writes into the same folder."""
    fsync, inside = os.fsync, []

    def write_another(handle):
        fsync(handle)
        if not inside:
            inside.append(True)
            atomic.write_bytes(tmp_path / "other", b"other")

    monkeypatch.setattr(atomic.os, "fsync", write_another)
    atomic.write_bytes(tmp_path / "file", b"whole")
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == {"file": b"whole", "other": b"other"}


def test_a_temporary_file_that_was_taken_for_left_over_is_made_again(tmp_path, monkeypatch):
    """Another process deletes it between the moment it is made and the one it is locked."""
    made, taken = os.open, []

    def made_and_taken(path, *options):
        handle = made(path, *options)
        if not taken:
            taken.append(path)
            Path(path).unlink()
        return handle

    monkeypatch.setattr(atomic.os, "open", made_and_taken)
    atomic.write_bytes(tmp_path / "file", b"whole")
    assert taken
    assert [path.name for path in tmp_path.iterdir()] == ["file"]


class Tampered:
    """The module ``os`` as atomic.py sees it, in which something happens at one call of a function that it makes."""

    CALLS = frozenset(("open", "fdopen", "fstat", "fchmod", "fsync", "close"))

    def __init__(self, number, happens):
        self.number, self.happens, self.calls = number, happens, []

    def __getattr__(self, name):
        return getattr(os, name) if name not in self.CALLS else lambda *args: self.call(name, getattr(os, name), *args)

    def call(self, name, function, *arguments):
        self.calls.append(name)
        if len(self.calls) - 1 == self.number:
            self.happens()
        return function(*arguments)


class TamperedPath(type(Path())):
    """A path whose changes of the file system are calls like those of :class:`Tampered`."""

    tampered: Tampered

    def unlink(self, missing_ok=False):
        return self.tampered.call("unlink", lambda: Path(self).unlink(missing_ok))

    def replace(self, target):
        return self.tampered.call("replace", lambda: Path(self).replace(target))


@pytest.fixture
def tamper(monkeypatch):
    """``tamper(number, happens)``: what happens at that call in atomic.py until the block ends; gives the calls."""

    @contextmanager
    def tampered(number, happens):
        with monkeypatch.context() as patch:
            TamperedPath.tampered = Tampered(number, happens)
            patch.setattr(atomic, "os", TamperedPath.tampered)
            patch.setattr(atomic, "Path", TamperedPath)
            yield TamperedPath.tampered.calls

    return tampered


def raising(number):
    def happens():
        raise OSError(number, os.strerror(number))

    return happens


def write_without_trouble(path, tamper, before):
    """How many calls there are to tamper with."""
    path.write_bytes(before)
    path.chmod(0o640)  # whatever the umask, another mode than that of a file while it is written
    with tamper(-1, None) as calls:
        atomic.write_bytes(path, b"new")
    assert {"open", "fstat", "fchmod", "fsync", "replace", "close"} <= set(calls)
    path.unlink()
    return len(calls)


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EIO, errno.EINTR, errno.EROFS, errno.EDQUOT])
@pytest.mark.parametrize("there", [True, False], ids=["replaced", "new"])
def test_an_error_at_any_call_leaves_one_of_two_whole_files(number, there, tmp_path, tamper):
    path = tmp_path / "file"
    failed = 0
    for call in range(write_without_trouble(path, tamper, b"old")):
        path.unlink(missing_ok=True)
        if there:
            path.write_bytes(b"old")
            path.chmod(0o600)  # of another mode than a new one
        with tamper(call, raising(number)) as calls:
            try:
                atomic.write_bytes(path, b"new")
            except OSError as error:
                failed += 1
                assert str(path) in str(error)  # noqa: PT017  (to go on is as good)
                assert not path.exists() or path.read_bytes() in (b"old", b"new")
                assert path.exists() or not there
            else:
                assert path.read_bytes() == b"new", calls
        atomic.write_bytes(path, b"next")
        assert {left.name: left.read_bytes() for left in tmp_path.iterdir()} == {"file": b"next"}, calls
    assert failed >= 4  # where nothing is lost by going on, it goes on


@pytest.mark.filterwarnings(
    "ignore:.*fork:Warning", "ignore::pytest.PytestUnraisableExceptionWarning"
)  # JAX may be here
@pytest.mark.parametrize("there", [True, False], ids=["replaced", "new"])
def test_a_kill_at_any_call_leaves_one_of_two_whole_files(there, tmp_path, tamper):
    path, ends = tmp_path / "file", set()
    for call in range(write_without_trouble(path, tamper, b"old")):
        path.unlink(missing_ok=True)
        if there:
            path.write_bytes(b"old")
        child = os.fork()
        if not child:
            with tamper(call, lambda: os._exit(9)):
                atomic.write_bytes(path, b"new")
            os._exit(0)
        status = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
        assert status in (0, 9)  # there are fewer calls where nothing is replaced
        found = path.read_bytes() if path.exists() else None
        assert found in (b"new", b"old" if there else None)
        ends.add((status, found))
        atomic.write_bytes(path, b"next")
        assert {left.name: left.read_bytes() for left in tmp_path.iterdir()} == {"file": b"next"}
    assert {(9, b"old" if there else None), (9, b"new")} <= ends


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="memory is read from /proc")
@pytest.mark.skipif(not SOAK.exists(), reason="the benchmarks are not here")
def test_a_small_soak():
    """Twenty kills and resumes, and 20,000 steps that keep nothing but their history."""
    command = [sys.executable, str(SOAK), "--kills", "20", "--steps", "20000"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300, check=False, env=cases.ONE_THREAD)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "20 kills" in done.stdout
    assert "equal to the last bit" in done.stdout

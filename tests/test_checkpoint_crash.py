"""A killed process, a full disk, a folder that cannot be written: what was saved stays loadable."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from pathlib import Path

import checkpoint_cases as cases
import pytest

from xpnet import storage
from xpnet.backend import get_backend

pytestmark = pytest.mark.skipif(not hasattr(os, "fork"), reason="kills and limits need fork and POSIX")
SOAK = Path(__file__).parent.parent / "benchmarks" / "soak.py"
HELPERS = Path(__file__).parent


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
    storage.write_bytes(tmp_path / "file", b"whole")
    left = {".xpnet-abcd1234.tmp.kept", ".xpnet-folder12.tmp", ".xpnet-kept", ".xpnet-linked12.tmp", "file", "kept"}
    assert {path.name for path in tmp_path.iterdir()} == left


def test_what_another_process_is_writing_is_not_deleted(tmp_path, monkeypatch):
    """In the middle of a write, somebody else writes into the same folder."""
    fsync, inside = os.fsync, []

    def write_another(handle):
        fsync(handle)
        if not inside:
            inside.append(True)
            storage.write_bytes(tmp_path / "other", b"other")

    monkeypatch.setattr(storage.os, "fsync", write_another)
    storage.write_bytes(tmp_path / "file", b"whole")
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

    monkeypatch.setattr(storage.os, "open", made_and_taken)
    storage.write_bytes(tmp_path / "file", b"whole")
    assert taken
    assert [path.name for path in tmp_path.iterdir()] == ["file"]


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="memory is read from /proc")
@pytest.mark.skipif(not SOAK.exists(), reason="the benchmarks are not here")
def test_a_small_soak():
    """Twenty kills and resumes, and 20,000 steps that keep nothing but their history."""
    command = [sys.executable, str(SOAK), "--kills", "20", "--steps", "20000"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300, check=False, env=cases.ONE_THREAD)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "20 kills" in done.stdout
    assert "equal to the last bit" in done.stdout

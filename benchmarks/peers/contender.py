"""The contenders, and one of them as a process: started, given its turns, and stopped while others have theirs."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

HERE = Path(__file__).parent

#: Script and variant of each. What all others are compared with comes first: torch-eager is the unit, floor the limit.
CONTENDERS = {
    "torch-eager": ("torch_eager.py", "index"),
    "floor": ("floor.py", ""),
    "xpnet-numpy": ("xpnet_trainer.py", "numpy bytes"),
    "xpnet-torch": ("xpnet_trainer.py", "torch"),
    "xpnet-jax": ("xpnet_trainer.py", "jax"),
    "torch-eager-select": ("torch_eager.py", "select"),
    "torch-compile": ("torch_compiled.py", "graph"),
    "torch-compile-recipe": ("torch_compiled.py", "recipe"),
    "jax-scan": ("jax_scan.py", ""),
    "keras-jax": ("keras_fit.py", "jax"),
    "keras-torch": ("keras_fit.py", "torch"),
    "sklearn": ("sklearn_mlp.py", ""),
    "tutorial": ("tutorial.py", "book"),
    "tutorial-lean": ("tutorial.py", "lean"),
}
#: Other ways to give xpnet the same job; run when they are asked for by name.
VARIANTS = {
    "xpnet-numpy-float32": ("xpnet_trainer.py", "numpy"),
    "xpnet-numpy-eager": ("xpnet_trainer.py", "numpy bytes eager"),
    "xpnet-torch-bytes": ("xpnet_trainer.py", "torch bytes"),
    "xpnet-torch-eager": ("xpnet_trainer.py", "torch eager"),
    "xpnet-jax-bytes": ("xpnet_trainer.py", "jax bytes"),
    "torch-channels-last": ("torch_eager.py", "index channels-last"),
    "xpnet-cupy": ("xpnet_trainer.py", "cupy bytes"),
    "xpnet-cupy-eager": ("xpnet_trainer.py", "cupy bytes eager"),
    "torch-graph": ("torch_graph.py", ""),
    "torch-eager-cpu": ("torch_eager.py", "index on cpu"),
}
#: Those with arrays on a GPU; torch-eager is always there.
ON_CUDA = (
    *("xpnet-cupy", "xpnet-cupy-eager", "xpnet-torch", "xpnet-torch-eager", "xpnet-jax"),
    *("torch-graph", "torch-compile", "jax-scan"),
)


class FailedError(Exception):
    """A contender that cannot go on, and why."""


class Contender:
    """The process of one contender; a worker on the other side of two pipes (``worker.py``).

    Attributes:
        versions: of the libraries it uses.
        microseconds: a step, of each turn that counts; ``of_processor``: of time of the processor, on all cores.
        processor_seconds: those of the last turn.
        means: the mean loss of each turn, the first one included.
        start: seconds until it was ready and had its first turn, in which compilers work.
        failure: why it was given up, or None.
    """

    def __init__(
        self, name: str, folder: Path, python: str = sys.executable, environment: dict[str, str] | None = None
    ) -> None:
        script, variant = (CONTENDERS | VARIANTS)[name]
        self.name, self.log = name, folder / f"{name}.log"
        self.versions: dict[str, str] = {}
        self.microseconds: list[float] = []
        self.of_processor: list[float] = []
        self.processor_seconds = 0.0
        self.means: list[float] = []
        self.start, self.failure = 0.0, None
        self.begun = time.perf_counter()
        with self.log.open("w") as errors:
            self.process = subprocess.Popen(
                [python, HERE / script, folder, variant],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=errors,
                env=os.environ | (environment or {}),
                text=True,
            )

    def wait_until_ready(self) -> None:
        self.versions = self._reply()["versions"]
        self.start = time.perf_counter() - self.begun
        self.process.send_signal(signal.SIGSTOP)

    def turn(self, number: int) -> tuple[float, list[float]]:
        """Seconds and losses; threads that would spin while others have their turn are stopped with the process."""
        self.process.send_signal(signal.SIGCONT)
        begin = time.perf_counter()
        self._say({"turn": number})
        reply = self._reply()
        wall = time.perf_counter() - begin
        self.process.send_signal(signal.SIGSTOP)
        self.start += wall if number == 0 else 0.0
        if reply["seconds"] > wall:
            raise FailedError(f"says that turn {number} took {reply['seconds']} s, but it answered within {wall} s")
        self.processor_seconds = reply["processor"]
        return reply["seconds"], reply["losses"]

    def end(self) -> None:
        """Let the process end, at once if it does not do so by itself."""
        self.process.send_signal(signal.SIGCONT)
        self.process.stdin.close()
        try:
            self.process.wait(30)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
        self.process.stdout.close()

    def _say(self, message: dict[str, Any]) -> None:
        try:
            self.process.stdin.write(json.dumps(message) + "\n")
            self.process.stdin.flush()
        except BrokenPipeError as error:
            raise FailedError(self._last_words()) from error

    def _reply(self) -> dict[str, Any]:
        line = self.process.stdout.readline()
        if not line:
            raise FailedError(self._last_words())
        return json.loads(line)

    def _last_words(self) -> str:
        lines = [line for line in self.log.read_text(errors="replace").splitlines() if line.strip()]
        errors = [line for line in lines if "Error" in line and not line.startswith(" ")]
        return (errors or lines or [f"ended with status {self.process.wait()} and said nothing"])[-1][:500]

"""What a gradient check found, as a table."""

from __future__ import annotations

from dataclasses import dataclass
from math import inf, isfinite, isinf, nan

from xpnet import _html
from xpnet.gradient.numerical import written

ERRORS = ("largest", "max error", "relative", "mean error", "relative")
HEADERS = ("gradient", "shape", *ERRORS, "worst at", "kinks", "verdict")


@dataclass(frozen=True)
class Row:
    """One array whose gradient was compared (or, in a directional check, one direction).

    Attributes:
        name, shape: of the parameter, or the number of the direction.
        largest: the largest entry of the gradient, without sign; what errors are relative to. In a directional check,
            the typical size of a slope, which is the length of the gradient over √(number of entries).
        max_error, mean_error: the largest and the mean difference, numerical to analytical.
        worst: the index of the largest difference.
        kinks: how many entries took a unit over a kink, where there is no derivative to compare; they are left out.
        compared: how many entries were compared.
        noise: the rounding error to be expected of the numerical gradient, eps max(1, |f|) / h.
        tolerance: how large ``relative`` may be.
    """

    name: str
    shape: tuple[int, ...]
    largest: float
    max_error: float
    mean_error: float
    worst: tuple[int, ...]
    kinks: int
    compared: int
    noise: float
    tolerance: float

    @property
    def relative(self) -> float:
        """The largest difference, relative to the largest entry of the gradient."""
        return _ratio(self.max_error, self.largest)

    @property
    def mean_relative(self) -> float:
        """The mean difference, relative to the largest entry of the gradient."""
        return _ratio(self.mean_error, self.largest)

    @property
    def verdict(self) -> str:
        """``"passed"``, ``"FAILED"``, or why nothing can be said: all at kinks, or no larger than rounding errors."""
        if not self.compared:
            return "nothing to compare"
        if isfinite(self.max_error) and self.max_error <= self.tolerance * self.largest:
            return "passed"
        return "below rounding error" if self.max_error <= 10 * self.noise else "FAILED"

    @property
    def passed(self) -> bool:
        """Whether something was compared, and agrees within the tolerance."""
        return self.verdict == "passed"


@dataclass(frozen=True, repr=False)
class GradientReport:
    """The result of :func:`xpnet.check_gradient`; ``print(report)`` shows it as a table, and so does a notebook.

    Attributes:
        rows: one for each array, or for each direction.
        mode: ``"full"`` or ``"directional"``.
        dtype: what was computed in, ``"float64"``.
        h: the step that was given, or None for the default.
    """

    rows: tuple[Row, ...]
    mode: str
    dtype: str
    h: float | None

    @property
    def passed(self) -> bool:
        """Whether a row passed and none failed; rows of which nothing can be said do not count."""
        verdicts = [row.verdict for row in self.rows]
        return "passed" in verdicts and "FAILED" not in verdicts

    @property
    def kinks(self) -> int:
        """How many entries (or directions) were left out because they took a unit over a kink."""
        return sum(row.kinks for row in self.rows)

    def __str__(self) -> str:
        from tabulate import tabulate

        table = tabulate(self._cells(), HEADERS, tablefmt="simple", disable_numparse=True)
        return f"{table}\n{self.summary}"

    def __repr__(self) -> str:
        worst = max((row.relative for row in self.rows if row.compared), default=nan)
        return f"GradientReport({self._verdict}: {len(self.rows)} rows, largest relative error {worst:.2g})"

    def _repr_html_(self) -> str:
        return _html.table(HEADERS, self._cells()) + _html.text(self.summary)

    @property
    def _verdict(self) -> str:
        failed = "FAILED" if any(row.verdict == "FAILED" for row in self.rows) else "NOT VERIFIED"
        return "passed" if self.passed else failed

    @property
    def summary(self) -> str:
        """What stands below the table: the verdict, how it was found, and what was left out."""
        step = "the default step" if self.h is None else f"h = {self.h:g}"
        end = f"{self._verdict}: {self.mode}, {self.dtype}, {step}"
        unsure = sum(row.verdict not in ("passed", "FAILED") for row in self.rows)
        if unsure:
            end += f"; of {unsure} of {len(self.rows)} rows nothing can be said (another h, or other samples, may help)"
        if self.kinks:
            end += (
                f"; {self.kinks} that crossed a kink (ReLU at 0, for example) have no derivative to compare and were "
                "left out"
            )
        if self.dtype == "float32":
            end += "; float32 leaves 3 to 4 digits to compare (JAX has float64 after JAX_ENABLE_X64=1)"
        return end

    def _cells(self) -> list[list[object]]:
        return [
            [
                row.name,
                "x".join(map(str, row.shape)) or "1",  # not ×, which some consoles cannot show
                *(f"{v:.2g}" for v in (row.largest, row.max_error, row.relative, row.mean_error, row.mean_relative)),
                written(row.worst) if row.compared and row.worst else "-",
                row.kinks or "",
                row.verdict,
            ]
            for row in self.rows
        ]


def _ratio(error: float, largest: float) -> float:
    if isinf(error):
        return error
    return error / largest if largest else (0.0 if error == 0 else inf)

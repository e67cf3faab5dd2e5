"""Gradients from forward passes alone, checked against backpropagation, and descended."""

from typing import TYPE_CHECKING

from xpnet._later import later

if TYPE_CHECKING:
    from xpnet.gradient.check import MODES, check_gradient
    from xpnet.gradient.descent import Descent, gradient_descent
    from xpnet.gradient.numerical import numerical_gradient
    from xpnet.gradient.report import GradientReport, Row
else:
    __getattr__, __dir__ = later(
        __name__,
        {
            "check": "MODES check_gradient",
            "descent": "Descent gradient_descent",
            "numerical": "numerical_gradient",
            "report": "GradientReport Row",
        },
    )

__all__ = ["MODES", "Descent", "GradientReport", "Row", "check_gradient", "gradient_descent", "numerical_gradient"]

"""Gradients from forward passes alone, checked against backpropagation, and descended."""

from xpnet.gradient.check import MODES, check_gradient
from xpnet.gradient.descent import Descent, gradient_descent
from xpnet.gradient.numerical import numerical_gradient
from xpnet.gradient.report import GradientReport, Row

__all__ = ["MODES", "Descent", "GradientReport", "Row", "check_gradient", "gradient_descent", "numerical_gradient"]

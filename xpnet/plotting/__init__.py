"""Pictures. What draws, draws on the Axes it is given, or on a new one, and returns it; nothing needs a screen.

``training_curves`` and ``compare`` are figures of one or two, ``crossovers`` of several; ``save`` writes any of them,
and a notebook shows the one that is the last value of a cell.

matplotlib is an extra, ``pip install "xpnet[plot]"``, and is imported when something is drawn.
"""

from xpnet.plotting.classification import confusion, mistakes
from xpnet.plotting.curves import accuracy_curve, function_curves, loss_curve, metric_curve, training_curves
from xpnet.plotting.figures import INSTALL, PlottingUnavailableError, new_figure, png, save
from xpnet.plotting.filters import feature_maps, filters
from xpnet.plotting.networks import activation_histograms, activations, digits
from xpnet.plotting.paths import descent_paths
from xpnet.plotting.runs import compare
from xpnet.plotting.scaling import speedups
from xpnet.plotting.surfaces import contours, gradient_field, surface
from xpnet.plotting.sweeps import best_curves, sweep_figure, sweep_map
from xpnet.plotting.throughput import crossover, crossovers, overtakings

__all__ = [
    "INSTALL",
    "PlottingUnavailableError",
    "accuracy_curve",
    "activation_histograms",
    "activations",
    "best_curves",
    "compare",
    "confusion",
    "contours",
    "crossover",
    "crossovers",
    "descent_paths",
    "digits",
    "feature_maps",
    "filters",
    "function_curves",
    "gradient_field",
    "loss_curve",
    "metric_curve",
    "mistakes",
    "new_figure",
    "overtakings",
    "png",
    "save",
    "speedups",
    "surface",
    "sweep_figure",
    "sweep_map",
    "training_curves",
]

"""The gallery runs each example as a person would, shortened, and shows the pictures that it wrote."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

from sphinx_gallery.scrapers import figure_rst

WRITTEN = Path(__file__).parent / "_build" / "pictures"
#: In this order, by what one learns first; an example that is not named comes behind them.
TOPICS = [
    "numerical_gradient", "gradient_descent", "descent_path", "line_fit", "simple_net", "activations",
    "graph_shopping", "graph_chain_rule", "graph_network", "graph_minimize", "gradient_check", "own_layer",
    "optimizer_paths", "train_mnist", "book_two_layer_net", "optimizers_mnist", "initializers_mnist",
    "batch_norm_mnist", "overfitting_mnist", "convnet_filters_mnist", "deep_convnet_mnist",
]  # fmt: skip

#: What would take more than ten seconds.
SHORT = {
    "batch_norm_mnist": ["--iterations", "40"],
    "deep_convnet_mnist": ["--iterations", "20", "--samples", "500"],
    "initializers_mnist": ["--iterations", "100"],
    "convnet_filters_mnist": ["--iterations", "100"],
}


class Arguments:
    """What stands behind the name of an example: its folder for pictures, and few iterations where it trains long."""

    def __call__(self, conf: dict[str, Any], script: dict[str, Any]) -> list[str]:
        name = Path(script["src_file"]).stem
        folder = WRITTEN / name
        shutil.rmtree(folder, ignore_errors=True)
        text = Path(script["src_file"]).read_text(encoding="utf-8")
        return [
            *(["--out", str(folder)] if '"--out"' in text else []),
            *SHORT.get(name, ["--iterations", "300"] if '"--iterations"' in text else []),
        ]

    def __repr__(self) -> str:
        return "Arguments"  # the gallery is made anew where this changes


def pictures(block: object, variables: dict[str, Any], conf: dict[str, Any]) -> str:
    """The pictures that a block wrote since the one before it."""
    names = variables["image_path_iterator"]
    shown = []
    for path in sorted((WRITTEN / Path(variables["src_file"]).stem).rglob("*.png"), key=lambda p: p.stat().st_mtime):
        name = next(names)
        shutil.move(path, name)
        shown.append(name)
    return str(figure_rst(shown, conf["src_dir"]))


def order(file: str) -> tuple[int, str]:
    """The key by which examples are sorted."""
    place = {f"{name}.py": i for i, name in enumerate(TOPICS)}
    return place.get(file, len(place)), file


arguments = Arguments()

"""How the site is built; ``python docs/build.py`` runs it, once a language."""

from __future__ import annotations

import sys
from importlib.metadata import version as version_of
from pathlib import Path
from typing import Any

import matplotlib as mpl

HERE = Path(__file__).parent
sys.path.insert(0, str(HERE))
mpl.use("agg")

from docstrings import as_text  # noqa: E402
from gallery_of_examples import arguments, order, pictures  # noqa: E402

project = "xpnet"
author = "The xpnet authors"
copyright = "the xpnet authors"
version = release = version_of("xpnet")
language = "en"  # build.py says which

extensions = [
    "myst_nb",
    "sphinx.ext.autodoc",
    "sphinx.ext.autosummary",
    "sphinx.ext.napoleon",
    "sphinx.ext.viewcode",
    "sphinx_copybutton",
    "sphinx_design",
    "sphinx_gallery.gen_gallery",
]
exclude_patterns = ["_build", "gallery/*.ipynb", "README.md"]
locale_dirs = ["locales"]
gettext_compact = False
gettext_uuid = False
gettext_location = False
templates_path = ["_templates"]

# Tutorials and guides are notebooks in MyST Markdown, run once for both languages.
nb_execution_mode = "cache"
nb_execution_cache_path = str(HERE / "_build" / "executed")
nb_execution_raise_on_error = True
nb_execution_in_temp = True
nb_execution_timeout = 300
nb_merge_streams = True
nb_render_text_lexer = "none"
myst_enable_extensions = ["colon_fence", "deflist"]
myst_heading_anchors = 3

autodoc_default_options = {"members": True}
autodoc_member_order = "groupwise"
autodoc_typehints = "none"  # docstrings give shapes and dtypes, which types do not
suppress_warnings = ["config.cache"]  # functions in the gallery's settings cannot be kept
napoleon_use_rtype = False
napoleon_custom_sections = [("Attributes", "params_style")]

sphinx_gallery_conf = {
    "examples_dirs": str(HERE.parent / "examples"),
    "gallery_dirs": "gallery",
    "filename_pattern": r"/(?!dask_cluster|jax_devices)\w+\.py$",  # those start processes, of libraries of their own
    "default_thumb_file": str(HERE / "_static" / "text.svg"),  # of examples that print
    "image_scrapers": (pictures,),
    "reset_argv": arguments,
    "within_subsection_order": order,
    "download_all_examples": False,
    "remove_config_comments": True,
    "show_memory": False,
    "show_signature": False,
    "min_reported_time": 1e9,
}

html_theme = "pydata_sphinx_theme"
html_title = "xpnet"
html_static_path = ["_static"]
html_css_files = ["xpnet.css"]
html_show_sourcelink = False
html_theme_options = {
    "header_links_before_dropdown": 6,
    "navbar_end": ["languages", "theme-switcher"],
    "footer_start": ["copyright"],
    "footer_end": [],
    "secondary_sidebar_items": ["page-toc", "notebook"],
    "show_prev_next": True,
    "navigation_with_keys": True,
}
html_sidebars = {page: [] for page in ("index", "start", "glossary")}  # there is nothing beside them
html_context = {"default_mode": "auto"}


def in_japanese(app: Any, config: Any) -> None:
    """What the theme takes as a setting and not from its catalog."""
    if config.language == "ja":
        config.html_theme_options["header_dropdown_text"] = "その他"


def setup(app: Any) -> None:
    app.connect("config-inited", in_japanese)
    app.connect("autodoc-process-docstring", as_text, priority=100)  # before napoleon

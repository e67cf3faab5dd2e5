"""Build the site, English and Japanese, into docs/_build/html: ``pip install ".[docs]" && python docs/build.py``.

``--update`` brings the catalogs of the translation up to date; ``--check`` fails if a paragraph has no translation, or
one of an older wording. Nothing is downloaded.
"""

from __future__ import annotations

import argparse
import os
import re
import subprocess
import sys
import time
from pathlib import Path

HERE = Path(__file__).parent
BUILT = HERE / "_build"
CATALOGS = HERE / "locales" / "ja" / "LC_MESSAGES"
#: What stays English: what is made of docstrings and of the examples' code.
ENGLISH = ("reference", "gallery")
#: Names that are the same in Japanese.
NAMES = re.compile(
    r"\b(xpnet|NumPy|CuPy|PyTorch|JAX|Dask|array-api-strict|autograd|HIPS|MLP|MNIST|NVIDIA|TPU|Affine|ReLU)\b"
)
CODE = re.compile(r"(\{\w+\})?`[^`]*`")
FRONT = """<!doctype html><meta charset="utf-8"><title>xpnet</title>
<script>location.replace((navigator.language || "en").startsWith("ja") ? "ja/index.html" : "en/index.html")</script>
<a href="en/index.html">English</a> <a href="ja/index.html" lang="ja">日本語</a>
"""


def sphinx(builder: str, out: Path, *more: str) -> None:
    """Run Sphinx, whose warnings are errors."""
    flags = ["-W", "--keep-going", "-q", "-j", "auto"]
    subprocess.run([sys.executable, "-m", "sphinx", "-b", builder, *flags, *more, HERE, out], check=True)


def html(language: str) -> None:
    """The pages of a language; what notebooks and examples print is computed by the first and used by the others."""
    out = BUILT / "html" / language
    sphinx("html", out, "-d", str(BUILT / f"doctrees-{language}"), "-D", f"language={language}")
    if not (out / "index.html").exists():  # an example that ends its process ends Sphinx, which then has not failed
        sys.exit(f"Sphinx ended before it wrote {out / 'index.html'}: run it without -q to see where")
    notebooks(out / "notebooks")


def notebooks(folder: Path) -> None:
    """Tutorials as files for Jupyter."""
    import jupytext

    folder.mkdir(exist_ok=True)
    for path in sorted((HERE / "tutorials").glob("*.md")):
        if path.stem != "index":
            jupytext.write(jupytext.read(path, fmt="md:myst"), folder / f"{path.stem}.ipynb")


def templates() -> list[Path]:
    """The paragraphs to translate, a file a page."""
    sphinx("gettext", BUILT / "gettext", "-d", str(BUILT / "doctrees-gettext"), "-D", "plot_gallery=0")
    found = sorted((BUILT / "gettext").rglob("*.pot"))
    return [
        p
        for p in found
        if p.relative_to(BUILT / "gettext").parts[0] not in ENGLISH and p.stem not in ("sphinx", "sg_execution_times")
    ]


def update() -> None:
    """Catalogs with the paragraphs of today; what was translated before is kept."""
    from babel.messages.catalog import Catalog
    from babel.messages.pofile import read_po, write_po

    for template in templates():
        path = CATALOGS / template.relative_to(BUILT / "gettext").with_suffix(".po")
        today = read_po(template.open("rb"))
        catalog = read_po(path.open("rb"), locale="ja") if path.exists() else Catalog(locale="ja")
        catalog.update(today, no_fuzzy_matching=True, update_creation_date=False)
        catalog.obsolete.clear()
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.open("wb") as file:
            write_po(file, catalog, width=118, no_location=True)


def has_words(text: str) -> bool:
    """Whether there is anything to translate: a word of three letters or more that is neither code nor a name.

    ``110 ms`` and ``y = x W + b`` are the same in Japanese, and so is CuPy.
    """
    return re.search(r"\b[A-Za-z]{3,}\b", NAMES.sub("", CODE.sub("", text))) is not None


def missing() -> list[str]:
    """Paragraphs without a translation."""
    from babel.messages.pofile import read_po

    found = []
    for template in templates():
        name = template.relative_to(BUILT / "gettext").with_suffix(".po")
        translated = {}
        if (CATALOGS / name).exists():
            catalog = read_po((CATALOGS / name).open("rb"), locale="ja")
            translated = {m.id: m.string for m in catalog if m.id and m.string and not m.fuzzy}
        paragraphs = [m.id for m in read_po(template.open("rb")) if m.id and has_words(m.id)]
        found += [f"{name}: {paragraph}" for paragraph in paragraphs if paragraph not in translated]
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--language", choices=["en", "ja"], action="append", help="only this one")
    parser.add_argument("--update", action="store_true", help="bring the catalogs up to date, and build nothing")
    parser.add_argument(
        "--check", action="store_true", help="look for paragraphs without a translation, and build nothing"
    )
    args = parser.parse_args()
    began = time.perf_counter()
    os.environ.setdefault("XPNET_BACKEND", "numpy")
    if args.update:
        update()
    elif args.check:
        if found := missing():
            sys.exit("\n".join(["no Japanese for:", *found, "python docs/build.py --update adds them to the catalogs"]))
        print("every paragraph has its translation")
    else:
        for language in args.language or ["en", "ja"]:
            html(language)
        (BUILT / "html" / "index.html").write_text(FRONT, encoding="utf-8")
        print(f"{BUILT / 'html' / 'index.html'}, {time.perf_counter() - began:.0f} s")


if __name__ == "__main__":
    main()

"""Pages of the site: each is reached, its links lead somewhere, its commands exist, its lines fit a screen."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from xpnet.cli import main

ROOT = Path(__file__).parent.parent
DOCS = ROOT / "docs"
PAGES = sorted(p for p in DOCS.rglob("*.md") if not {"_build", "gallery"} & set(p.parts) and not p.stem.endswith(".ja"))
NAMES = [str(p.relative_to(DOCS)) for p in PAGES]
#: On a screen of 1280 pixels; prose is wrapped by the browser, and here for those who edit it.
WIDEST_CODE, WIDEST_PROSE = 100, 130


def parts(page):
    """The lines of code blocks and those of prose, each with its number; a shell's are in ``shell``."""
    code, shell, prose, fence = [], [], [], None
    for number, line in enumerate(page.read_text(encoding="utf-8").splitlines(), 1):
        if line.startswith("```"):
            fence = line[3:] or "text" if fence is None else None
        elif fence is None:
            prose.append((number, line))
        elif not fence.startswith(("{toctree", "{eval-rst")):
            code.append((number, line))
            if fence in ("sh", "bash"):
                shell.append((number, line))
    return code, shell, prose


@pytest.mark.parametrize("folder", ["tutorials", "guides", "explanations", "reference"])
def test_every_page_is_in_the_table_of_its_folder(folder):
    table = (DOCS / folder / "index.md").read_text(encoding="utf-8")
    listed = set(re.search(r"```\{toctree\}\n(.*?)```", table, re.DOTALL).group(1).split())
    assert {p.stem for p in (DOCS / folder).glob("*.md")} - {"index"} - listed == set()


@pytest.mark.parametrize("page", PAGES, ids=NAMES)
def test_lines_are_not_too_long(page):
    code, _, prose = parts(page)
    assert [n for n, line in code if len(line) > WIDEST_CODE] == []
    assert [n for n, line in prose if len(line) > WIDEST_PROSE and not line.startswith(("|", "!["))] == []


@pytest.mark.parametrize(
    "page",
    [*PAGES, *(ROOT / n for n in ("README.md", "README.ja.md", "CHANGELOG.md", "CONTRIBUTING.md"))],
    ids=lambda p: p.stem,
)
def test_links_lead_somewhere(page):
    text = "\n".join(line for _, line in parts(page)[2])
    dead = []
    for target in re.findall(r"\]\(([^)#\s]+)", text):
        found = page.parent / target
        if re.match(r"[a-z]+:", target):
            continue
        if found.parent.name == "gallery":  # made of the examples when the site is built
            found = ROOT / "examples" / f"{found.stem}.py"
            if found.stem == "index":
                continue
        if not found.exists():
            dead.append(target)
    assert dead == []


@pytest.mark.parametrize("page", PAGES, ids=NAMES)
def test_commands_and_options_exist(page):
    _, shell, prose = parts(page)
    told = [line for _, line in shell] + re.findall(r"`(xpnet [^`]+)`", " ".join(line for _, line in prose))
    for line in told:
        for command in re.findall(r"\bxpnet [a-z][^#;&|]*", line):
            _, name, *words = command.split()
            assert name in main.commands, command
            known = {option for p in main.commands[name].params for option in (*p.opts, *p.secondary_opts)}
            options = {word.split("=")[0] for word in words if word.startswith("--") and len(word) > 2}
            assert options - known == set(), command

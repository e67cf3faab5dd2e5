"""Print the version, after all texts that have it were found to agree."""

import re
import sys
from pathlib import Path

version = re.search(r'^__version__ = "(.+)"$', Path("xpnet/__init__.py").read_text("utf-8"), re.MULTILINE)[1]
newest = re.search(r"^## (\S+)(?: \((.+)\))?$", Path("CHANGELOG.md").read_text("utf-8"), re.MULTILINE)
cited = re.search(r"^version: (.+)$", Path("CITATION.cff").read_text("utf-8"), re.MULTILINE)[1]
wrong = [
    *([f"CHANGELOG.md begins with {newest[1]}"] if newest[1] != version else []),
    *([f"CITATION.cff has {cited}"] if cited != version else []),
    *([f"CHANGELOG.md has no date for {version}"] if not re.fullmatch(r"\d{4}-\d\d-\d\d", newest[2] or "") else []),
]
if wrong:
    sys.exit("\n".join([f"xpnet/__init__.py has version {version}, but", *wrong]))
if "example.org" in Path("pyproject.toml").read_text("utf-8"):
    print("the addresses in [project.urls] of pyproject.toml are still placeholders", file=sys.stderr)
print(version)

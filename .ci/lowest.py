"""The lowest versions that pyproject.toml allows, of what xpnet and its tests need, as requirements for pip."""

import tomllib
from pathlib import Path

project = tomllib.loads(Path("pyproject.toml").read_text("utf-8"))["project"]
for requirement in (*project["dependencies"], *project["optional-dependencies"]["test"]):
    name, _, version = requirement.partition(">=")
    print(f"{name}=={version}")

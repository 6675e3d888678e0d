"""What pyproject.toml asks for: nothing that nobody imports, nothing less, and a lock file that
keeps to it.
"""

from __future__ import annotations

import sys
import tomllib
from importlib.metadata import packages_distributions

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from tests.contracts.source_tree import ROOT, imports

PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
EXTRAS = PROJECT["optional-dependencies"]
# extras that the package itself does not import; tensorboard is imported by Accelerate's tracker
TOOLS = ("dev", "docs", "s3", "tensorboard", "browser")
UNLOCKED = {"web", "browser"}  # gradio keeps an older Pillow
THROUGH = {"starlette"}  # comes with gradio and fastapi, whose server it is
BEHIND = {"python-multipart"}  # starlette reads forms with it


def requirements(lines: list[str]) -> dict[str, Requirement]:
    found = [Requirement(line) for line in lines]
    return {canonicalize_name(each.name): each for each in found}


def imported() -> set[str]:
    """Distributions of all that the package imports, by their canonical names."""
    known = packages_distributions()
    tops = {each.top for each in imports() if not each.types_only}
    # of several distributions with one module (typer, typer-slim) the one of that name
    return {
        canonicalize_name(top if top in known.get(top, [top]) else known[top][0])
        for top in tops - set(sys.stdlib_module_names) - {"seedcli"}
    }


def test_every_requirement_is_imported_and_every_import_is_required() -> None:
    extras = [line for name, lines in EXTRAS.items() if name not in TOOLS for line in lines]
    wanted = set(requirements([*PROJECT["dependencies"], *extras]))
    assert wanted - imported() - BEHIND == set(), "nothing imports it"
    assert imported() - wanted - THROUGH == set(), "pyproject.toml does not ask for it"


def test_the_lock_file_pins_every_requirement_within_its_bounds() -> None:
    """`make lock` writes it."""
    pins = [Requirement(line) for line in (ROOT / "requirements.lock").read_text().splitlines()]
    versions = {canonicalize_name(each.name): str(each.specifier)[2:] for each in pins}
    lines = [line for name in EXTRAS if name not in UNLOCKED for line in EXTRAS[name]]
    faults = [
        f"{name} {versions.get(name)}, expected {each.specifier}"
        for name, each in requirements([*PROJECT["dependencies"], *lines]).items()
        if name != "seedcli"
        and not (name in versions and each.specifier.contains(versions[name], prereleases=True))
    ]
    assert faults == [], "make lock"

"""What users were promised: recipes that validate, a README whose commands parse, commands and
options that change only on purpose.
"""

from __future__ import annotations

import inspect
import itertools
import os
import re
from pathlib import Path
from typing import get_args

import pytest
from typer.testing import CliRunner

from seedcli.cli.main import app
from seedcli.recipe.files import find_recipe, shipped_recipes
from seedcli.recipe.read import describe_keys, known_keys, load_recipe
from seedcli.recipe.stages import STAGES
from tests.contracts.command_line import leaf_commands, parse, seed_calls
from tests.contracts.source_tree import ROOT

SNAPSHOT = Path(__file__).parent / "commands.txt"
COMMANDS = dict(leaf_commands())


def test_every_shipped_recipe_validates() -> None:
    names = shipped_recipes()
    assert names
    for name in names:
        recipe = load_recipe(name)
        assert recipe.command in COMMANDS, f"{name}: no command runs it"


def test_every_shipped_recipe_opens_with_the_command_that_runs_it() -> None:
    for name in shipped_recipes():
        lines = find_recipe(name).read_text(encoding="utf-8").splitlines()
        head = [
            line.removeprefix("#").strip()
            for line in itertools.takewhile(lambda line: line.startswith("#"), lines)
        ]
        calls = [line for line in head if line.startswith("seed ")]
        assert calls, f"recipes/{name}.toml: no `# seed ...` in its head"
        for call in calls:
            parse(re.sub(r"\bN\b", "0", call))
            assert re.search(rf"\b{name}\b", call), (
                f"recipes/{name}.toml: {call!r} runs another recipe"
            )


@pytest.mark.parametrize("stage", list(STAGES))
def test_schema_says_what_each_key_means_and_which_are_free_to_miss(stage: str) -> None:
    assert STAGES[stage].model_fields["stage"].annotation.__args__ == (stage,)
    for path, field in known_keys(STAGES[stage]).items():
        is_section = hasattr(field.annotation, "model_fields") or "Section" in str(field.annotation)
        assert field.description or is_section, f"{path}: no description"
        assert field.is_required() or (field.json_schema_extra or {}).get("comfort"), (
            f"{path}: a default without comfort()"
        )
    rows = describe_keys(STAGES[stage])
    assert len(rows) > 1
    # types in TOML's terms, none of Python's
    assert not [row for row in rows if re.search(r"\b(int|str|float|None)\b|\w\[", row["type"])]


def test_make_targets_that_are_named_exist() -> None:
    targets = re.findall(
        r"^([a-z-]+):", (ROOT / "Makefile").read_text(encoding="utf-8"), flags=re.MULTILINE
    )
    pages = [ROOT / "README.md", *(ROOT / "docs").rglob("*.md")]
    text = "\n".join(page.read_text(encoding="utf-8") for page in pages)
    named = re.findall(r"(?:`|^)make ([a-z-]+)", text, flags=re.MULTILINE)
    assert named
    assert set(named) <= set(targets)


@pytest.mark.parametrize("name", list(COMMANDS))
def test_help_holds_an_example_that_parses(name: str) -> None:
    text = re.sub(r"\\\n\s*", " ", COMMANDS[name].help or "")
    calls = [
        call
        for line in text.splitlines()
        if "seed " in line and line.startswith(" ")
        for call in seed_calls(line.strip().removeprefix("$ "))
    ]
    assert any(call.startswith(f"seed {name}") for call in calls), (
        f"seed {name} --help: no line such as `  seed {name} ...`"
    )
    for call in calls:
        parse(call)


@pytest.mark.parametrize("name", list(COMMANDS))
def test_every_command_has_the_shared_habits(name: str) -> None:
    options = {option for parameter in COMMANDS[name].params for option in parameter.opts}
    assert {"--json", "--quiet", "--debug"} <= options


COUNTS = {"--nproc", "--nnodes", "--batch-size", "--workers", "--actors"}


@pytest.mark.parametrize(
    ("name", "option"),
    [
        (name, option)
        for name, command in sorted(COMMANDS.items())
        for parameter in command.params
        for option in COUNTS & set(parameter.opts)
    ],
)
def test_counts_beyond_any_machine_are_refused(name: str, option: str) -> None:
    required = [
        word
        for parameter in COMMANDS[name].params
        if parameter.required
        for word in ([parameter.opts[0]] if parameter.param_type_name == "option" else []) + ["x"]
    ]
    done = CliRunner().invoke(app, [*name.split(), *required, option, "1000000"])
    assert done.exit_code == 2 and done.stdout == ""
    assert option in done.stderr


def test_commands_and_options_are_those_of_the_snapshot() -> None:
    """A change here is a change of the contract: write it into the changelog, then
    UPDATE_SNAPSHOT=1 make test.
    """
    lines = []
    for name, command in sorted(COMMANDS.items()):
        lines.append(f"seed {name}")
        signature = inspect.signature(command.callback).parameters
        for parameter in command.params:
            words = (
                "/".join([*parameter.opts, *parameter.secondary_opts])
                if parameter.param_type_name == "option"
                else parameter.name
            )
            kind = get_args(signature[parameter.name].annotation)[0]
            default = "required" if parameter.required else f"default {parameter.default!r}"
            lines.append(
                f"    {words}  "
                f"{kind.__name__ if isinstance(kind, type) else str(kind).replace('typing.', '')}  "
                f"{default}"
            )
    text = "\n".join(lines) + "\n"
    if os.environ.get("UPDATE_SNAPSHOT"):
        SNAPSHOT.write_text(text, encoding="utf-8")
    assert text == SNAPSHOT.read_text(encoding="utf-8")

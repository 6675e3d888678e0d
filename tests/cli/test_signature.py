"""A request's fields -> the parameters of a command, and back."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated

import pytest
import typer
from typer.testing import CliRunner

from seedcli.cli.main import app, as_command
from seedcli.cli.signature import Signature
from seedcli.errors import UsageError
from seedcli.options import Argument, Option, Without
from tests.contracts.command_line import leaf_commands, parse


def _halves(text: str) -> tuple[int, int]:
    first, _, second = text.partition("/")
    if not second:
        raise UsageError(f"--pair {text}: expected A/B")
    return int(first), int(second)


@dataclass(frozen=True, kw_only=True)
class Group:
    steps: Annotated[int | None, Option("Steps.", min=1, panel="Drawing")] = None
    hidden: Annotated[int, Option("Left out by the request.")] = 7


@dataclass(frozen=True, kw_only=True)
class Request:
    inputs: Annotated[tuple[str, ...], Argument("What.", metavar="INPUT")] = ()
    folder: Annotated[Path, Option("Where.", "-o")]
    tags: Annotated[tuple[str, ...], Option("Which.", "--tag -t")] = ()
    grammar: Annotated[bool, Option("Without.", "--unconstrained")] = True
    suits: Annotated[bool | None, Option("Either.", "--well/--badly")] = None
    pair: Annotated[tuple[int, int] | None, Option("Both.", parse=_halves)] = None
    group: Annotated[Group, Without("hidden")] = field(
        default_factory=lambda: Group(steps=3, hidden=8)
    )


def run(*arguments: str) -> tuple[int, list[Request], str]:
    got: list[Request] = []

    def command(request: Request, loud: Annotated[bool, Option("Loud.")] = False) -> None:
        got.append(request)

    app = typer.Typer()
    app.command()(as_command(command))
    result = CliRunner().invoke(app, arguments)
    return result.exit_code, got, result.output


def test_defaults_are_those_of_the_dataclass() -> None:
    assert run("-o", "x") == (0, [Request(folder=Path("x"))], "")


def test_every_field_is_read() -> None:
    many = ["a", "b", "--tag", "two", "-t", "one"]
    words = [*many, "--folder", "x", "--unconstrained", "--pair", "1/2", "--steps", "5"]
    assert run(*words)[1] == [
        Request(
            inputs=("a", "b"),
            folder=Path("x"),
            tags=("two", "one"),
            grammar=False,
            pair=(1, 2),
            group=Group(steps=5, hidden=8),
        )
    ]


def test_a_flag_may_say_yes_and_no() -> None:
    for words, suits in (((), None), (("--well",), True), (("--badly",), False)):
        assert run("-o", "x", *words)[1] == [Request(folder=Path("x"), suits=suits)]


def test_what_cannot_be_read_is_a_usage_error() -> None:
    code, got, said = run("-o", "x", "--pair", "1")
    assert (code, got) == (2, [])
    assert "--pair 1: expected A/B" in said
    assert run("-o", "x", "--steps", "0")[0] == 2
    assert run()[0] == 2  # --folder has no default
    assert run("-o", "x", "--hidden", "1")[0] == 2


def test_a_field_that_is_no_option_is_named() -> None:
    @dataclass(frozen=True)
    class Bare:
        width: int = 0

    def command(request: Bare) -> None: ...

    command.__annotations__["request"] = Bare
    with pytest.raises(TypeError, match="width.*does not say how it is an option"):
        Signature(command)


def test_two_fields_of_one_name_are_refused() -> None:
    def command(request: Request, steps: Annotated[int, Option("Again.")] = 1) -> None: ...

    with pytest.raises(TypeError, match="steps from more than one field"):
        Signature(command)


@pytest.mark.parametrize(
    ("words", "says", "remedy"),
    [
        ("chat --temperature -1", "--temperature -1: expected a number from 0 on", "leave it out"),
        ("chat --top-p 2", "--top-p 2: expected a number from 0 to 1", "leave it out"),
        (
            "tokenize -b 0",
            "--batch-size 0: expected a whole number from 1 to 65,536",
            "--batch-size 32",
        ),
        ("serve --port x", "--port x: expected a whole number from 0 to 65,535", "--port 8000"),
        (
            "tokenize --device gpu",
            "--device gpu: expected auto, cpu, cuda or mps",
            "--device auto",
        ),
        ("pretrain", "RECIPE is missing: A TOML file, or", "seed pretrain --help"),
        ("tokenize --devise cpu", "no such option: --devise", "seed tokenize --help"),
        ("tokenize -o", "option '-o' requires an argument", "seed tokenize --help"),
        ("chat extra", "got unexpected extra argument", "seed chat --help"),
        ("eval retreival", "no such command 'retreival'. Did you mean", "seed eval --help"),
        ("tokenise", "no such command 'tokenise'. Did you mean", "seed --help"),
    ],
)
def test_what_is_typed_wrong_is_told_as_every_error_is(words: str, says: str, remedy: str) -> None:
    result = CliRunner().invoke(app, words.split())
    assert (result.exit_code, result.stdout) == (2, "")
    told, advice = result.stderr.splitlines()
    assert told.startswith(f"error: {says}")
    assert advice.startswith(f"  -> {remedy}")


def test_every_bounded_option_says_its_bounds() -> None:
    bounded = [
        (name, one, bound)
        for name, command in leaf_commands()
        for one in command.callback.fields.values()
        for bound in (one.option.min, one.option.max)
        if bound is not None
    ]
    assert len(bounded) > 100
    for name, one, bound in bounded:
        wrong = f"{bound - 1 if bound == one.option.min else bound + 1:g}"
        with pytest.raises(typer.BadParameter) as refused:
            parse(f"seed {name} {one.flags[0]} {wrong}")
        assert refused.value.message.startswith(f"{one.flags[0]} {wrong}: expected a ")
        assert f"{bound:,g}" in refused.value.message

"""Requests -> parameters of a command: the one place where a field becomes a Typer option.

A command takes requests, and values of its own that are annotated in the same way:

    def tokenize(request: TokenizeRequest, dry_run: DryRunOption = False) -> None: ...

Its signature for Typer has a parameter for each field, groups of fields (a dataclass within a
dataclass) among them; before the command runs, the requests are put together from their values.
"""

from __future__ import annotations

import dataclasses
import inspect
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Annotated, Any, Literal, get_args, get_origin, get_type_hints

import typer

from seedcli.cli import completion
from seedcli.errors import UsageError
from seedcli.options import Argument, Option, group_of

_REQUIRED = inspect.Parameter.empty


@dataclasses.dataclass(frozen=True)
class _Field:
    """A parameter of the command line, and the way from what it holds to the field's value."""

    name: str
    kind: Any
    option: Option
    default: Any

    @property
    def flags(self) -> list[str]:
        """All its names on the command line; none for an argument."""
        if isinstance(self.option, Argument):
            return []
        flags = self.option.flags.split()
        if any(flag.startswith("--") for flag in flags):
            return flags
        return [f"--{self.name.replace('_', '-')}", *flags]

    @property
    def key(self) -> str:
        """What Typer calls it: as its option, so that groups may have fields of one name."""
        long = next((flag for flag in self.flags if flag.startswith("--")), self.name)
        return long.removeprefix("--").partition("/")[0].replace("-", "_")

    def parameter(self) -> inspect.Parameter:
        """As Typer reads it."""
        kind, default = self.kind, self.default
        if self._is_many:
            kind = list[get_args(kind)[0]]  # type: ignore[misc]
            if default == ():
                kind, default = kind | None, None
        elif self.option.parse is not None:
            if default is _REQUIRED:
                kind = str
            elif isinstance(default, str | int):  # what a person could have typed
                kind, default = str, str(default)
            else:
                kind, default = str | None, None
        elif kind is bool:
            default = False
        return inspect.Parameter(
            self.key,
            inspect.Parameter.KEYWORD_ONLY,
            default=default,
            annotation=Annotated[kind, self._for_typer()],
        )

    def value(self, given: Any) -> Any:
        """What Typer read -> what the field holds."""
        if given is None:
            return self.default
        if self.option.complete in ("models", "tokenizers", "language_models"):
            presets = getattr(completion, self.option.complete)
            _refuse_missing_folder(
                given, presets, self.flags[0] if self.flags else self.name.upper()
            )
        if self._is_many:
            return tuple(given)
        if self.option.parse is not None:
            return self.option.parse(given)
        return given != self.default if self.kind is bool and self.default is True else given

    def refusal(self, given: str | None, help_command: str) -> UsageError:
        """Why the field cannot hold what was typed, or be left out, and what to type instead."""
        flag = self.flags[0] if self.flags else self.option.metavar or self.name.upper()
        if given is None:
            return UsageError(f"{flag} is missing: {self.option.help}", remedy=help_command)
        kinds, low, high = (self.kind, *get_args(self.kind)), self.option.min, self.option.max
        choices = [
            str(one) for each in kinds if get_origin(each) is Literal for one in get_args(each)
        ]
        if choices:
            expected = " or ".join(filter(None, (", ".join(choices[:-1]), choices[-1])))
        else:
            bounds = (
                *(() if low is None else (f"from {low:,g}",)),
                *(() if high is None else (f"to {high:,g}",)),
                *(("on",) if high is None and low is not None else ()),
            )
            expected = " ".join(["a whole number" if int in kinds else "a number", *bounds])
        return UsageError(
            f"{flag} {given[:80]}: expected {expected}",
            remedy=f"leave it out, or see {help_command}"
            if self.default in (None, _REQUIRED)
            else f"{flag} {self.default}",
        )

    @property
    def _is_many(self) -> bool:
        return get_origin(self.kind) is tuple and self.option.parse is None

    def _for_typer(self) -> Any:
        option = self.option
        settings: dict[str, Any] = {
            "help": option.help,
            "metavar": option.metavar or _metavar(self.kind),
            "min": option.min,
            "max": option.max,
            "rich_help_panel": option.panel,
            "show_default": option.show_default,
            "autocompletion": _completer(option),
        }
        if isinstance(option, Argument):
            return typer.Argument(**settings)
        return typer.Option(*self.flags, **settings)


def _refuse_missing_folder(model: str, presets: completion.Complete, option: str) -> None:
    """What can only be a folder is looked for now, before the command imports torch.

    Raises:
        DataError: It is not there.
    """
    if "/" not in model:
        return
    from seedcli.models.weights.locate import names_a_path, nowhere

    if names_a_path(model) and not Path(model).expanduser().exists():
        raise nowhere(model, "model", presets(""), option)


def _metavar(kind: Any) -> str | None:
    """What the help calls a value of a type; None for a choice, which Typer spells out."""
    names = {bool: "", int: "N", float: "X", str: "TEXT", Path: "PATH"}
    return next((names[each] for each in (kind, *get_args(kind)) if each in names), None)


def _completer(option: Option) -> Callable[..., list[str]] | None:
    if option.complete is not None:
        return getattr(completion, option.complete)
    return completion.one_of(option.metavar) if "|" in (option.metavar or "") else None


@dataclasses.dataclass(frozen=True)
class _Group:
    """A request, or a group of fields within one."""

    kind: Any
    default: Any
    members: dict[str, _Field | _Group]

    def fields(self) -> Iterator[_Field]:
        """Its fields and those of its groups, in their order."""
        for member in self.members.values():
            if isinstance(member, _Group):
                yield from member.fields()
            else:
                yield member

    def value(self, given: dict[str, Any]) -> Any:
        """What Typer read -> the request; a field that no option offers keeps its default."""
        values = {
            name: member.value(given if isinstance(member, _Group) else given[member.key])
            for name, member in self.members.items()
        }
        if self.default is _REQUIRED:
            return self.kind(**values)
        return dataclasses.replace(self.default, **values)


class Signature:
    """What a command takes, for Typer and for the command.

    Attributes:
        parameters: A parameter for each field of its requests and each value of its own.
        fields: The same fields, by what Typer calls them.
    """

    def __init__(self, function: Callable[..., None]):
        """Reads the signature of a command.

        Raises:
            TypeError: An annotation does not say how it is an option, or two fields have one name.
        """
        parameters = inspect.signature(function, eval_str=True).parameters.values()
        self._all = _Group(
            dict,
            _REQUIRED,
            {each.name: _read(each.name, each.annotation, each.default) for each in parameters},
        )
        self.parameters = [field.parameter() for field in self._all.fields()]
        self.fields = {field.key: field for field in self._all.fields()}
        names = [each.name for each in self.parameters]
        if twice := {name for name in names if names.count(name) > 1}:
            raise TypeError(f"{function.__name__}: {', '.join(twice)} from more than one field")

    def arguments(self, given: dict[str, Any]) -> dict[str, Any]:
        """What Typer read -> arguments of the command.

        Raises:
            UsageError: A value is none that its field can hold.
            DataError: A model's folder is missing.
        """
        return self._all.value(given)


def _read(name: str, annotation: Any, default: Any) -> _Field | _Group:
    """Parameter or field -> its option, or the options of its fields where it is a dataclass."""
    if (group := group_of(annotation)) is None:
        kind, *marks = (
            get_args(annotation) if get_origin(annotation) is Annotated else (annotation,)
        )
        option = next((mark for mark in marks if isinstance(mark, Option)), None)
        if option is None:
            raise TypeError(f"{name}: {annotation} does not say how it is an option")
        return _Field(name, kind, option, default)
    kind, left_out = group
    hints = get_type_hints(kind, include_extras=True)
    if unknown := left_out - set(hints):
        raise TypeError(f"{name}: {kind.__name__} has no field {min(unknown)!r} to leave out")
    return _Group(
        kind,
        default,
        {
            field.name: _read(field.name, hints[field.name], _default_of(field, default))
            for field in _own_first(kind)
            if field.name not in left_out
        },
    )


def _own_first(kind: Any) -> list[dataclasses.Field[Any]]:
    """Fields of a request in their order, those that it shares with others last."""
    own = list(kind.__annotations__)
    return sorted(
        dataclasses.fields(kind),
        key=lambda each: own.index(each.name) if each.name in own else len(own),
    )


def _default_of(field: dataclasses.Field[Any], group: Any) -> Any:
    """Default of a field: as the default of its group has it, else its own."""
    if group is not _REQUIRED:
        return getattr(group, field.name)
    if field.default is not dataclasses.MISSING:
        return field.default
    if field.default_factory is not dataclasses.MISSING:
        return field.default_factory()
    return _REQUIRED

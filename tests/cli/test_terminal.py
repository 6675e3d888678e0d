"""Which way of showing pictures a terminal gets, and tables of its width."""

from __future__ import annotations

import pytest

from seedcli.cli.terminal import picture_protocol, shown_by, table


@pytest.mark.parametrize(
    ("environment", "expected"),
    [
        ({"TERM": "xterm-kitty"}, "kitty"),
        ({"TERM": "xterm-256color", "TERM_PROGRAM": "iTerm.app"}, "iterm"),
        ({"TERM": "tmux-256color", "TMUX": "/tmp/tmux", "TERM_PROGRAM": "tmux"}, "blocks"),
        ({"TERM": "xterm-kitty", "TMUX": "/tmp/tmux"}, "blocks"),
        ({"TERM": "screen"}, "blocks"),
        ({"TERM": "xterm-256color"}, "blocks"),
        ({"TERM": "xterm-256color", "TERM_PROGRAM": "Apple_Terminal"}, None),
        (
            {
                "TERM": "xterm-256color",
                "TERM_PROGRAM": "Apple_Terminal",
                "COLORTERM": "truecolor",
            },
            "blocks",
        ),
        ({"TERM": "linux"}, None),
        ({"TERM": "dumb"}, None),
        ({}, None),
    ],
)
def test_pictures_are_shown_in_the_best_way_there_is(monkeypatch, environment, expected) -> None:
    for name in ("TERM", "TERM_PROGRAM", "TMUX", "KITTY_WINDOW_ID", "LC_TERMINAL", "COLORTERM"):
        monkeypatch.delenv(name, raising=False)
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    assert picture_protocol() == shown_by("auto") == expected
    assert shown_by("sixel") == "sixel" and shown_by("no") is None


def test_a_table_fits_the_terminal(monkeypatch):
    head = ["name", "text recall at 10", "words"]
    rows = [["one", "12.5", "several words of one cell"], ["another name", "7.0", ""]]
    monkeypatch.setenv("COLUMNS", "80")
    assert table(head, rows, figures=(1,)) == [
        "name          text recall at 10  words",
        "one                        12.5  several words of one cell",
        "another name                7.0",
    ]
    monkeypatch.setenv("COLUMNS", "34")
    assert table(head, rows, figures=(1,)) == [
        "name            text  words\n              recall\n               at 10",
        "one             12.5  several\n" + " " * 22 + "words of one\n" + " " * 22 + "cell",
        "another name     7.0",
    ]

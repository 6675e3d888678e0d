"""What a person types into a conversation: lines that wrap, Tab, and what is taken back."""

from __future__ import annotations

from seedcli.cli.talk import COMMANDS, complete
from seedcli.cli.terminal import WordWrap


def wrapped(pieces: list[str], width: int) -> str:
    out: list[str] = []
    words = WordWrap(out.append, width)
    for piece in pieces:
        words.add(piece)
    words.end_line()
    return "".join(out)


def test_lines_break_between_words_however_the_text_arrives() -> None:
    text = " a red apple, and two\ngreen ones"
    expected = "a red apple,\nand two\ngreen ones\n"
    assert wrapped([text], 12) == wrapped(list(text), 12) == expected


def test_what_does_not_fit_on_any_line_stands_alone_and_wide_characters_take_two_columns() -> None:
    assert wrapped(["see http://a.long.address/ there"], 10) == (
        "see\nhttp://a.long.address/\nthere\n"
    )
    assert wrapped(["漢字 漢字 漢字"], 9) == "漢字 漢字\n漢字\n"
    assert wrapped(["", "  "], 9) == ""


def test_tab_completes_commands() -> None:
    assert complete("/un") == ["/undo"]
    assert complete("/s") == ["/save ", "/seed "]
    assert len(complete("/")) == len(COMMANDS)
    assert complete("what is") == complete("/seed ") == []


def test_tab_completes_paths_behind_commands_that_take_one(tmp_path, monkeypatch) -> None:
    (tmp_path / "my pictures").mkdir()
    (tmp_path / "my pictures" / "cat.png").touch()
    (tmp_path / "mine.png").touch()
    (tmp_path / ".hidden").touch()
    monkeypatch.chdir(tmp_path)
    assert complete("/image ") == ["/image mine.png", "/image my pictures/"]
    assert complete("/load my") == ["/load my pictures/"]
    assert complete("/image my pictures/c") == ["/image my pictures/cat.png"]
    assert complete(f"/save {tmp_path}/.h") == [f"/save {tmp_path}/.hidden"]
    assert complete("/image nowhere/") == []

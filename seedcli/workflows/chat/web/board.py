"""What the tab Tokens shows of its pictures, as HTML."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape

from seedcli.workflows.chat.web.messages import ShownPicture
from seedcli.workflows.chat.web.tokens import Board, Piece, TokenTable
from seedcli.workflows.code_tiles import tile_style


def board_html(board: Board, table: TokenTable) -> str:
    """A board -> HTML: its pictures, the first one's codes, and what they draw."""
    if board.first is None:
        return ""
    return "".join(
        (
            _pieces(board),
            _codes(board, table),
            _first_codes(board, table),
            _changed(board, table),
        )
    )


def _pieces(board: Board) -> str:
    shown = "".join(
        _piece(piece, slot, title)
        for piece, slot, title in (
            (board.first, "first", "Picture"),
            (board.second, "second", "Second picture"),
        )
        if piece is not None
    )
    return f'<section class="pieces">{shown}</section>'


def _piece(piece: Piece, slot: str, title: str) -> str:
    leave = (
        f'<button type="button" data-do="leave" data-slot="{slot}" '
        f'aria-label="Remove the {title.lower()}">Remove</button>'
    )
    return _figure(piece.picture, title, leave)


def _figure(picture: ShownPicture, title: str, extra: str = "") -> str:
    address, name = escape(picture.address), escape(picture.name)
    return (
        f'<figure><img src="{address}" alt="{escape(picture.words)}"><figcaption>'
        f'<span>{escape(title)}</span> <a href="{address}" download="{name}" '
        f'aria-label="Download: {escape(title)}">Download</a>{extra}</figcaption></figure>'
    )


def _codes(board: Board, table: TokenTable) -> str:
    other = () if board.second is None else board.second.codes
    differing, edited = set(board.differing), set(board.edited)
    tiles = []
    for place, code in enumerate(board.codes):
        label, kinds, beneath = f"Code {place + 1}: {code}", [], ""
        if place in edited:
            label += f", it was {board.first.codes[place]}"
            kinds.append("edited")
        if other:
            label += f"; second picture: {other[place]}"
            kinds.append("differs" if place in differing else "agrees")
            beneath = (
                f'<span style="{tile_style(table.colors[other[place]])}">{other[place]}</span>'
            )
        tiles.append(
            f'<li><button type="button" class="tile {" ".join(kinds)}" data-place="{place}" '
            f'data-code="{code}" aria-label="{label}"><span '
            f'style="{tile_style(table.colors[code])}">{code}</span>{beneath}</button></li>'
        )
    said = f"Out of {table.num_codes}, in their order. Near colours are near code vectors."
    if other:
        said = _comparison(board.differing, table.num_queries)
        said += " Beneath each: the second picture's."
    return (
        f"<section><h3>{table.num_queries} codes</h3><p>{said} Press a code to change it.</p>"
        f'<ol class="tiles">{"".join(tiles)}</ol></section>'
    )


def _comparison(differing: Sequence[int], number: int) -> str:
    if not differing:
        return f"All {number} codes agree."
    agreeing = [str(place + 1) for place in range(number) if place not in set(differing)]
    said = f"{len(differing)} of {number} codes differ"
    if not agreeing:
        return f"{said}."
    many = "code" if len(agreeing) == 1 else "codes"
    return f"{said}; {many} {', '.join(agreeing)} agree{'s' * (len(agreeing) == 1)}."


def _first_codes(board: Board, table: TokenTable) -> str:
    row = []
    for number in table.prefixes:
        title = "1 code" if number == 1 else f"{number} codes"
        picture = board.drawn.get((board.first.codes, number))
        row.append(_none(title) if picture is None else _figure(picture, title))
    kept = board.kept
    picture = board.drawn.get((board.codes, kept))
    title = f"First {kept} of {table.num_queries} codes"
    drawn = _none(title) if picture is None else _figure(picture, title)
    return (
        "<section><h3>The picture from its first codes</h3><p>Each code depends only on those "
        "before it; the others are filled with what is usual at their places.</p>"
        f'<div class="row">{"".join(row)}</div><div class="keep"><div><p>First codes kept: '
        f'<output>{kept}</output></p><input type="range" min="1" max="{table.num_queries}" '
        f'value="{kept}" aria-label="First codes kept"></div>{drawn}</div></section>'
    )


def _none(title: str) -> str:
    return (
        f'<figure><div class="none" aria-hidden="true"></div><figcaption><span>{title}</span>'
        "</figcaption></figure>"
    )


def _changed(board: Board, table: TokenTable) -> str:
    number = table.num_queries
    form = (
        f'<form class="change"><label>Place <input class="place" type="number" min="1" '
        f'max="{number}" value="1" required></label><label>Code <input class="code" '
        f'type="number" min="0" max="{table.num_codes - 1}" value="{board.codes[0]}" required>'
        '</label><button type="submit" class="strong">Draw with this code</button>'
        '<button type="button" data-do="other">A random code</button>'
        + ('<button type="button" data-do="own">As it was</button>' if board.edited else "")
        + "</form>"
    )
    shown = ""
    if board.edited:
        places = ", ".join(str(place + 1) for place in board.edited)
        many = "Code" if len(board.edited) == 1 else "Codes"
        before = board.drawn.get((board.first.codes, number))
        after = board.drawn.get((board.codes, number))
        figures = (
            (before, "Before"),
            (after, f"{many} {places} changed"),
            (board.difference, "Difference"),
        )
        shown = '<div class="row">' + "".join(
            _none(title) if picture is None else _figure(picture, title)
            for picture, title in figures
        ) + "</div>"  # fmt: skip
    return f"<section><h3>Change a code</h3>{form}{shown}</section>"

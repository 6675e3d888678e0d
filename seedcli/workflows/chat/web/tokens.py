"""The tab Tokens of `seed chat --web`: a picture's codes, the picture from the first of them, from
others, and beside another picture's.
"""

from __future__ import annotations

import shutil
import tempfile
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image, ImageChops

from seedcli.console import Reporter
from seedcli.data.documents.documents import Codes
from seedcli.errors import SeedError, UsageError
from seedcli.workflows.chat.web.desk import Desk, new_name
from seedcli.workflows.chat.web.messages import ShownPicture, sentence
from seedcli.workflows.chat.web.watched import Tabs, Watched
from seedcli.workflows.code_tiles import code_colors

PREFIXES = (1, 4, 8, 16, 32)  # how many first codes the row of pictures is drawn from
_SEED = 0  # of all drawings here: what differs between two of them is the codes


@dataclass(frozen=True, kw_only=True)
class Piece:
    """A picture and its codes.

    Attributes:
        picture: As the page shows it.
        codes: [Q].
    """

    picture: ShownPicture
    codes: Codes


@dataclass(eq=False, kw_only=True)
class Board(Watched):
    """What one tab looks at.

    Attributes:
        folder: Of its pictures.
        first: The picture whose codes are shown.
        second: The picture that it is compared with.
        codes: The first one's codes, some of them changed by hand.
        kept: How many first codes the picture of the slider is drawn from.
        drawn: Pictures by the codes that they were drawn from and how many of them were kept.
        difference: Where the picture of the changed codes is another than that of the first's own.
    """

    folder: Path
    first: Piece | None = None
    second: Piece | None = None
    codes: Codes = ()
    kept: int = 32
    drawn: dict[tuple[Codes, int], ShownPicture] = field(default_factory=dict)
    difference: ShownPicture | None = None

    @property
    def edited(self) -> list[int]:
        """Positions whose code was changed by hand, from 0."""
        if self.first is None:
            return []
        return [
            place
            for place, (now, before) in enumerate(zip(self.codes, self.first.codes, strict=True))
            if now != before
        ]

    @property
    def differing(self) -> list[int]:
        """Positions, from 0, at which the two pictures have other codes."""
        if self.first is None or self.second is None:
            return []
        pairs = zip(self.first.codes, self.second.codes, strict=True)
        return [place for place, (one, other) in enumerate(pairs) if one != other]


class TokenTable:
    """All boards.

    Attributes:
        boards: By the name that each tab gave itself.
    """

    def __init__(self, desk: Desk):
        """Loads nothing.

        Args:
            desk: Of the tab Chat: the two share the model and the folder of pictures.
        """
        self._desk, self._tokenizer = desk, desk.tokenizer
        self.boards: Tabs[Board] = Tabs(
            lambda: Board(folder=Path(tempfile.mkdtemp(dir=desk.folder))),
            lambda board: shutil.rmtree(board.folder, ignore_errors=True),
        )

    @property
    def num_queries(self) -> int:
        """Codes of a picture."""
        return self._tokenizer.num_queries

    @property
    def num_codes(self) -> int:
        """Size of the codebook."""
        return self._tokenizer.num_codes

    @property
    def prefixes(self) -> list[int]:
        """How many first codes the row of pictures is drawn from."""
        return [number for number in PREFIXES if number < self.num_queries] + [self.num_queries]

    @cached_property
    def colors(self) -> np.ndarray:
        """A colour of each code; see `code_colors`."""
        return code_colors(self._tokenizer.model.codebook.embedding)

    def look(self, board: Board, picture: Path, *, second: bool = False) -> None:
        """A picture is shown: its codes, and, of the first one, what its codes draw."""

        def work() -> None:
            piece = Piece(
                picture=self._desk.keep(board.folder, picture),
                codes=tuple(self._tokenizer.encode(picture)[0].tolist()),
            )
            if second:
                board.tell(second=piece)
                return
            board.tell(
                first=piece, codes=piece.codes, kept=self.num_queries, drawn={}, difference=None
            )
            self._draw(board, [(piece.codes, number) for number in self.prefixes])

        self._do(board, "Reading the picture", work)

    def leave(self, board: Board, *, second: bool = False) -> None:
        """A picture is shown no longer."""
        if not board.busy:
            gone: dict[str, Any] = {"second": None} if second else {"first": None, "codes": ()}
            board.tell(status="", **gone)

    def keep_first(self, board: Board, number: int) -> None:
        """The picture from the first `number` codes."""
        if board.first is not None and 1 <= number <= self.num_queries:
            wanted = [(board.codes, number)]
            self._do(board, "", lambda: self._draw(board, wanted), kept=number)

    def change(self, board: Board, place: int, code: int | None) -> None:
        """Another code at a position, or (None) those of the picture everywhere; and what that
        draws.

        Args:
            board: Whose codes.
            place: Position, from 0.
            code: The code.
        """
        if board.first is None:
            return
        codes = board.first.codes
        if code is not None:
            changed = [*board.codes[:place], code, *board.codes[place + 1 :]]
            try:
                (codes,) = self._tokenizer.check_codes(changed)
            except UsageError as error:
                board.tell(status=sentence(error))
                return

        def work() -> None:
            self._draw(board, [(codes, self.num_queries)])
            board.tell(difference=self._difference(board))

        self._do(board, "", work, codes=codes, kept=self.num_queries, difference=None)

    def _difference(self, board: Board) -> ShownPicture | None:
        both = (board.first.codes, board.codes)
        pair = [board.drawn.get((codes, self.num_queries)) for codes in both]
        if not board.edited or None in pair:
            return None
        one, other = (Image.open(board.folder / each.address.rpartition("/")[2]) for each in pair)
        image = ImageChops.difference(one.convert("RGB"), other.convert("RGB"))
        return self._shown(
            board, image, "difference", "Where the two pictures differ; black: equal"
        )

    def _do(self, board: Board, doing: str, work: Callable[[], None], **new: Any) -> None:
        """Has something computed in a thread."""
        waits = self._desk.working.locked()
        first = "The model is answering another tab; this one is next" if waits else doing
        if not board.begin(status=first, **new):
            return

        def compute() -> None:
            end = ""
            try:
                with self._desk.working:
                    board.tell(status=doing)
                    work()
            except SeedError as error:
                end = sentence(error)
            except BaseException as error:
                if not board.folder.exists():  # the tab was dropped meanwhile
                    return
                end = f"A fault of seed ({type(error).__name__}): the terminal says more."
                raise
            finally:
                board.tell(busy=False, status=end)

        threading.Thread(target=compute, daemon=True).start()

    def _draw(self, board: Board, wanted: Sequence[tuple[Codes, int]]) -> None:
        """Draws what was not drawn yet; all with the same seed."""
        import torch

        from seedcli.workflows.detokenize.fill import embed_prefixes, mean_code_vectors

        wanted = [each for each in wanted if each not in board.drawn]
        if not wanted or not self._desk.draws:
            return
        tokenizer = self._tokenizer
        model = tokenizer.model
        fill = mean_code_vectors(model, Reporter())
        embeddings = torch.cat(
            [
                embed_prefixes(model, torch.tensor([codes], device=fill.device), number, fill)
                for codes, number in wanted
            ]
        )
        steps, guidance = tokenizer.drawing_settings(None, None)
        what = "a picture" if len(wanted) == 1 else f"{len(wanted)} pictures"

        def tell(step: int) -> None:
            board.tell(status=f"Drawing {what}, step {step} of {steps}")

        board.tell(status=f"Drawing {what}")
        images = tokenizer.draw(
            embeddings, [_SEED] * len(wanted), steps=steps, guidance=guidance, on_step=tell
        )
        drawn = dict(board.drawn)
        for (codes, number), image in zip(wanted, images, strict=True):
            words = (
                "Picture drawn from all codes"
                if number == self.num_queries
                else f"Picture drawn from the first {number} codes"
            )
            drawn[codes, number] = self._shown(board, image, f"first-{number}", words)
        board.tell(drawn=drawn)

    def _shown(self, board: Board, image: Image.Image, name: str, words: str) -> ShownPicture:
        path = new_name(board.folder)
        image.save(path)
        return ShownPicture(address=self._desk.address(path), name=f"seed-{name}.png", words=words)

"""Codes of a source's pictures: encoded once, and how far it is told as one piece of work."""

from __future__ import annotations

from seedcli.data.tokens import picture_store
from seedcli.data.tokens.picture_store import PictureStore
from seedcli.progress import Progress


class Heard(Progress):
    def __init__(self) -> None:
        super().__init__("encode pictures", None)
        self.steps: list[int] = []

    def advance(self, n: int = 1, **figures) -> None:
        super().advance(n, **figures)
        self.steps.append(n)


def test_progress_is_told_in_passes_and_known_pictures_are_counted(tmp_path, monkeypatch) -> None:
    monkeypatch.setattr(picture_store, "_AT_ONCE", 4)
    calls: list[int] = []

    def codes_of(pictures):
        calls.append(len(pictures))
        return [(len(one),) for one in pictures]

    how = {"codes_of": codes_of, "fingerprint": "f", "cache": tmp_path}
    store, progress = PictureStore("one", **how), Heard()
    pictures = [bytes(number) for number in range(1, 11)]
    assert store.count([*pictures, *pictures]) == (0, 10)
    assert store.add(pictures, progress=progress) == {}
    assert calls == progress.steps == [4, 4, 2]
    assert [store.codes(one) for one in pictures] == [(number,) for number in range(1, 11)]
    again = PictureStore("one", **how)
    assert again.count([*pictures, b"x" * 40, tmp_path / "nowhere.png"]) == (10, 1)

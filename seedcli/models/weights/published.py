"""Where published weights live: for each role an ordered list of sources, the first that answers
wins: `bundled/published.toml`. Torch-free.

Hubs lose models: the picture decoder that the official configuration names is gone. So each role
has more than one source where the world has more than one, and every fact says no more than is
known: a size or hash that could not be read anywhere is None, never a guess. Seen: stored hub pages
and repositories of 2024-2026.
"""

from __future__ import annotations

import tomllib
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

BUNDLED = Path(__file__).parents[2] / "bundled"


@dataclass(frozen=True, kw_only=True)
class Source:
    """One place that has the files of a role.

    Attributes:
        repo: Hub repository, or None for a plain `url`.
        url: Address of a single file, for sources outside the hub.
        folder: Of the repository, where the files lie; ends in `/` unless it is the top.
        files: Names in that folder, where the role's kind does not tell them.
        revision: Commit, tag or branch. A branch name means that no commit is known;
            `seed models pull` prints the one it got.
        size_bytes: Of a single file; None if unknown.
        sha256: Of a single file; None if unknown.
        licence: As the source states it.
        note: What one should know before trusting it.
    """

    repo: str | None = None
    url: str | None = None
    folder: str = ""
    files: tuple[str, ...] = ()
    revision: str = "main"
    size_bytes: int | None = None
    sha256: str | None = None
    licence: str = "unknown"
    note: str = ""

    @property
    def name(self) -> str:
        """What to call it in messages."""
        return self.url or f"{self.repo}@{self.revision[:12]}"

    def name_of_file(self) -> str:
        """Bare name of the one file of a file role."""
        return (self.url or self.files[0]).rpartition("/")[2]


@dataclass(frozen=True, kw_only=True)
class Role:
    """One part of a model that is downloaded on its own.

    Attributes:
        name: As `seed models pull NAME` takes it.
        title: What it is.
        kind: A single file, a folder of named files, or a folder whose files are chosen by what the
            repository holds (`weights.layout`).
        about_gb: What is fetched takes on the disk, rounded: of hub pages, or parameters times
            bytes of their type.
        billion_parameters: In use, for the memory that it takes; 0 where it is no network.
        lay_out: How a user without a network puts it in place.
    """

    name: str
    title: str
    kind: Literal["file", "files", "language-model", "pipeline"]
    sources: tuple[Source, ...]
    about_gb: float | None = None
    billion_parameters: float = 0.0
    lay_out: str


def _read_roles() -> dict[str, Role]:
    stated = tomllib.loads((BUNDLED / "published.toml").read_text(encoding="utf-8"))
    return {
        name: Role(
            **facts
            | {
                "name": name,
                "sources": tuple(
                    Source(**source | {"files": tuple(source.get("files", ()))})
                    for source in facts["sources"]
                ),
            }
        )
        for name, facts in stated.items()
    }


ROLES = _read_roles()
VIT_G, QUANTIZER, BERT_VOCABULARY = (
    ROLES[name] for name in ("vit-g", "quantizer", "bert-vocabulary")
)
UNCLIP, CLIP_H, BLIP_2 = (ROLES[name] for name in ("unclip", "clip-h", "blip-2"))
SEED_LLAMA_TEXT_TOKENIZER = ROLES["seed-llama-text-tokenizer"]
SEED_LLAMAS = tuple(
    role
    for name, role in ROLES.items()
    if name.startswith("seed-llama") and role.kind == "language-model"
)


def language_model(repo: str) -> Role:
    """A language model that is named by its hub repository alone."""
    return Role(
        name=repo,
        title="language model",
        kind="language-model",
        sources=(Source(repo=repo),),
        lay_out="name a folder with its config.json and weights",
    )


_SEED_2_ROLES = ("vit-g", "quantizer", "bert-vocabulary", "unclip")
PRESET_TITLES = {
    "seed-nano": "small tokenizer and picture decoder, bundled, trained on emoji; the default",
    "seed-2": "the published SEED-2 tokenizer and its unCLIP decoder, for photographs",
    **{role.name: f"{role.title}, with the tokenizer of seed-2" for role in SEED_LLAMAS},
}

# What `seed models pull PRESET` brings: all that its commands need.
PRESET_ROLES: dict[str, tuple[str, ...]] = {
    "seed-nano": (),
    "seed-2": _SEED_2_ROLES,
    **{
        role.name: (role.name, SEED_LLAMA_TEXT_TOKENIZER.name, *_SEED_2_ROLES)
        for role in SEED_LLAMAS
    },
}

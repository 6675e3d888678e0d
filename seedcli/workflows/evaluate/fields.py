"""What the benchmarks of `seed eval` have in common to be asked for: which pictures, where answers
are kept, which judge, which language model.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from seedcli.console import Reporter
from seedcli.engine.engines import EngineChoice
from seedcli.errors import DataError
from seedcli.options import (
    MAX_TOGETHER,
    DeviceOption,
    DtypeOption,
    LanguageModelOption,
    Option,
    PageOption,
    PictureGuidanceOption,
    PictureStepsOption,
    QuantizeOption,
    SeedOption,
    TokenizerOption,
)
from seedcli.storage import as_place

if TYPE_CHECKING:
    from seedcli.benchmarks.retrieval_sets import RetrievalSet

DATA = "Data"

SampleBatchOption = Annotated[
    int, Option("Samples that are answered together.", "-b", min=1, max=MAX_TOGETHER)
]
AllowSplitOption = Annotated[
    bool, Option("Accept a split whose size is not the published one.", panel=DATA)
]


@dataclass(frozen=True, kw_only=True)
class SetFields:
    """Which pictures, with their captions."""

    dataset: Annotated[
        str,
        Option(
            "A named set, or a file of captions: Karpathy's, BLIP's, COCO's, or a table.",
            metavar="emoji|flickr30k|coco|FILE",
            panel=DATA,
        ),
    ] = "emoji"
    split: Annotated[
        str | None,
        Option(
            "Default: unseen for emoji (also: vendor, validation, train), test for others.",
            panel=DATA,
        ),
    ] = None
    images: Annotated[
        Path | None,
        Option(
            "Where the pictures of FILE lie; an address does as well.",
            metavar="DIR",
            panel=DATA,
            parse=as_place,
        ),
    ] = None
    data_root: Annotated[
        Path | None,
        Option(
            "Where named sets lie, an address does as well; else the hub is asked.",
            metavar="DIR",
            panel=DATA,
            parse=as_place,
        ),
    ] = None
    allow_split: AllowSplitOption = False

    def load_set(self, reporter: Reporter) -> RetrievalSet:
        """See `load_retrieval_set`."""
        from seedcli.benchmarks.retrieval_sets import load_retrieval_set

        return load_retrieval_set(
            self.dataset,
            split=self.split,
            images=self.images,
            data_root=self.data_root,
            allow_split=self.allow_split,
            reporter=reporter,
        )


@dataclass(frozen=True, kw_only=True)
class RunFields:
    """Where answers are kept, and how many are computed where."""

    output: Annotated[
        Path | None,
        Option(
            "Folder of answers and result; default: one of its own for each setting under "
            "runs/eval.",
            "-o",
            metavar="DIR",
        ),
    ] = None
    limit: Annotated[
        int | None,
        Option(
            "Only the first so many samples; a later run without it computes the others.", min=1
        ),
    ] = None
    page: PageOption = None
    batch_size: SampleBatchOption = 16
    engine: EngineChoice = field(default_factory=EngineChoice)


def _judge(name: str) -> str:
    """A folder is looked for now, before the command imports torch.

    Raises:
        DataError: It is not there.
    """
    if name.startswith((".", "/", "~")) and not Path(name).expanduser().is_dir():
        raise DataError(
            f"no judge at {name}",
            remedy="--judge takes a folder, ARCHITECTURE/WEIGHTS such as ViT-L-14/openai, or "
            "hf-hub:ID",
        )
    return name


@dataclass(frozen=True, kw_only=True)
class JudgedFields:
    """How pictures are drawn, and what compares them."""

    judge: Annotated[
        str | None,
        Option(
            "CLIP model that compares: ARCHITECTURE/WEIGHTS of open_clip, hf-hub:ID or a folder. "
            "Default: the bundled one for emoji, ViT-L-14/openai else.",
            metavar="MODEL",
            parse=_judge,
        ),
    ] = None
    steps: PictureStepsOption = None
    guidance: PictureGuidanceOption = None


@dataclass(frozen=True, kw_only=True)
class LanguageModelFields:
    """Which language model answers, and where."""

    model: LanguageModelOption = "seed-nano"
    tokenizer: TokenizerOption = None
    seed: SeedOption = 0
    device: DeviceOption = "auto"
    dtype: DtypeOption = "auto"
    quantize: QuantizeOption = None

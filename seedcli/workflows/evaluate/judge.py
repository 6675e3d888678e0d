"""The judge of a benchmark's pictures: features of drawn pictures, true pictures and captions, kept
beside them for each judge.
"""

from __future__ import annotations

import functools
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from PIL import Image

from seedcli.benchmarks.clip_similarity import pack_feature
from seedcli.benchmarks.image_refs import ImageRef
from seedcli.console import Reporter
from seedcli.data.images.images import ImageError, open_image, save_image
from seedcli.errors import DataError
from seedcli.models.device import pick_device
from seedcli.models.drawing.judge import ClipJudge, load_judge
from seedcli.models.weights.digest import weights_digest
from seedcli.models.weights.locate import BUNDLED_NANO
from seedcli.workflows.evaluate.pictures import EvalPictures, read_picture
from seedcli.workflows.evaluate.samples import SampleRun, open_samples

EMOJI_JUDGE = BUNDLED_NANO / "judge"
# What GILL's evaluation takes (kohjingyu/gill: evals/compute_clip_similarity_vist.py); of
# SEED-LLaMA's table nobody published it.
PHOTO_JUDGE = "ViT-L-14/openai"
# The published generation target under the names that open_clip has for it.
PUBLISHED_TARGET = ("ViT-H-14/laion2b_s32b_b79k", "hf-hub:laion/CLIP-ViT-H-14-laion2B-s32B-b79K")
TRUTH = "truth"  # folder of thumbnails of the true pictures
_THUMBNAIL_PX = 256


@dataclass(frozen=True)
class Judge:
    """A CLIP model that compares what was drawn, by name; it is loaded at first use, and travels
    without its weights.

    Attributes:
        asked: See `load_judge`; None: the bundled one for emoji, CLIP ViT-L/14 for all else.
        emoji: The pictures are of emoji.
        device: Where it computes, as the user asked.
    """

    asked: str | None
    emoji: bool
    device: str

    def __reduce__(self) -> tuple[Any, ...]:
        """In another process, or on another machine, it is found and loaded anew."""
        return Judge, (self.asked, self.emoji, self.device)

    @property
    def name(self) -> str:
        """As `load_judge` takes it."""
        return self.asked or (str(EMOJI_JUDGE) if self.emoji else PHOTO_JUDGE)

    @functools.cached_property
    def clip(self) -> ClipJudge:
        """The model itself.

        Raises:
            DataError: There is no such model, or its weights could not be had.
        """
        if self.name == str(EMOJI_JUDGE) and not EMOJI_JUDGE.is_dir():
            raise DataError(
                f"this installation has no bundled judge (looked in {EMOJI_JUDGE})",
                remedy="seed train-tokenizer nano-judge makes one; --judge takes its folder, or an "
                "open_clip model such as ViT-L-14/openai",
            )
        return load_judge(self.name, device=pick_device(self.device))

    @functools.cached_property
    def facts(self) -> dict[str, str]:
        """Its name, and, of one that is a folder, a digest of its weights: what a score names."""
        folder = Path(self.name)
        if not folder.is_dir():
            return {"name": self.name}
        return {
            "name": "nano-judge" if folder == EMOJI_JUDGE else folder.name,
            "weights": weights_digest(folder),
        }


def find_judge(
    name: str | None, pictures: EvalPictures, *, emoji: bool, device: str, reporter: Reporter
) -> Judge:
    """A judge that is loaded; ask for it before anything is drawn for it.

    Args:
        name: As `Judge` takes it, and so `emoji` and `device`.
        pictures: Whose pictures it judges.
        emoji: They are of emoji.
        device: Where it computes.
        reporter: Hears that the model was trained towards this very judge.

    Raises:
        DataError: There is no such model, or its weights could not be had.
    """
    judge = Judge(name, emoji, device)
    if judge.name in PUBLISHED_TARGET and pictures.config.name == "seed-2":
        reporter.warn(
            f"{pictures.name} was trained towards {judge.name}: as a judge it favours its pupil"
        )
    _ = judge.clip
    return judge


@dataclass(frozen=True)
class Exhibit:
    """What a judge looks at: a drawn picture (None where there is none), the true one, and its
    caption where words are compared, too.
    """

    drawn: Path | None
    truth: ImageRef
    caption: str | None = None


def judge_pictures(
    run: SampleRun,
    exhibits: Mapping[str, Exhibit],
    judge: Judge,
    batch_size: int,
    reporter: Reporter,
    *,
    thumbnails: Path | None = None,
) -> list[dict[str, Any]]:
    """Exhibits -> lines with `drawn`, `truth` and, where there are captions, `caption`: packed
    features of each; a run inside the run for each judge, on the same engine.

    Args:
        run: Whose pictures they are.
        exhibits: By key; those of one true picture, side by side, have it read once a batch.
        judge: Compares.
        batch_size: Exhibits that are judged together.
        reporter: Hears of progress.
        thumbnails: Folder for small copies of the true pictures, `KEY.png`.

    Raises:
        DataError: A picture is lost or broken.
    """
    facts = judge.facts
    weights = [facts["weights"][:8]] if "weights" in facts else []
    folder = re.sub(r"[^A-Za-z0-9.-]+", "_", "-".join(["judge", facts["name"], *weights]))
    with open_samples(
        run.settings["benchmark"],
        run.settings["dataset"],
        run.settings["split"],
        settings={"judge": facts, "answers": run.digest},
        output=run.folder / folder,
        engine=run.engine,
        device=run.device,
        reporter=reporter,
    ) as judged:
        return judged.answer(
            exhibits,
            functools.partial(_compare, judge=judge, thumbnails=thumbnails),
            batch_size=batch_size,
            what="judgements",
        )


def _compare(
    batch: Mapping[str, Exhibit], *, judge: Judge, thumbnails: Path | None
) -> list[dict[str, Any]]:
    truths = {each.truth.stamp: each.truth for each in batch.values()}
    originals = dict(zip(truths, map(read_picture, truths.values()), strict=True))
    if thumbnails is not None:
        for key, each in batch.items():
            small = originals[each.truth.stamp].copy()
            small.thumbnail((_THUMBNAIL_PX, _THUMBNAIL_PX))
            save_image(small, thumbnails / f"{key}.png")
    drawn = {key: open_drawn(each.drawn) for key, each in batch.items() if each.drawn is not None}
    features = judge.clip.image_features([*originals.values(), *drawn.values()]).numpy()
    true = dict(zip(originals, features[: len(originals)], strict=True))
    ours = dict(zip(drawn, features[len(originals) :], strict=True))
    lines: list[dict[str, Any]] = [
        {
            "drawn": pack_feature(ours[key]) if key in ours else None,
            "truth": pack_feature(true[each.truth.stamp]),
        }
        for key, each in batch.items()
    ]
    captions = [each.caption for each in batch.values() if each.caption is not None]
    if captions:
        words = judge.clip.text_features(captions).numpy()
        for line, feature in zip(lines, words, strict=True):
            line["caption"] = pack_feature(feature)
    return lines


def open_drawn(path: Path) -> Image.Image:
    """A picture that a run drew.

    Raises:
        DataError: It is lost or broken.
    """
    try:
        return open_image(path)
    except ImageError as error:
        raise DataError(
            f"{path}: {error.reason}",
            remedy="it was drawn and is lost; choose another folder with -o to draw anew",
        ) from error

"""The judge of a benchmark's pictures: features of drawn pictures, true pictures and captions, kept
beside them for each judge.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

from PIL import Image

from seedcli.benchmarks.clip_similarity import pack_feature
from seedcli.console import Reporter
from seedcli.data.images.images import ImageError, open_image, save_image
from seedcli.errors import DataError
from seedcli.models.device import pick_device
from seedcli.models.drawing.judge import ClipJudge, load_judge
from seedcli.models.weights.digest import weights_digest
from seedcli.models.weights.locate import BUNDLED_NANO
from seedcli.workflows.evaluate.pictures import EvalPictures, Pair, read_picture
from seedcli.workflows.evaluate.samples import SampleRun, open_samples

EMOJI_JUDGE = BUNDLED_NANO / "judge"
# What GILL's evaluation takes (kohjingyu/gill: evals/compute_clip_similarity_vist.py); of
# SEED-LLaMA's table nobody published it.
PHOTO_JUDGE = "ViT-L-14/openai"
# The published generation target under the names that open_clip has for it.
PUBLISHED_TARGET = ("ViT-H-14/laion2b_s32b_b79k", "hf-hub:laion/CLIP-ViT-H-14-laion2B-s32B-b79K")
TRUTH = "truth"  # folder of thumbnails of the true pictures
_THUMBNAIL_PX = 256


def find_judge(
    name: str | None, pictures: EvalPictures, *, emoji: bool, device: str, reporter: Reporter
) -> ClipJudge:
    """Loads the judge; ask for it before anything is drawn for it.

    Args:
        name: See `load_judge`; None: the bundled one for emoji, CLIP ViT-L/14 for all else.
        pictures: Whose pictures it judges.
        emoji: They are of emoji.
        device: Where it computes.
        reporter: Hears that the model was trained towards this very judge.

    Raises:
        DataError: There is no such model, or its weights could not be had.
    """
    name = name or (str(EMOJI_JUDGE) if emoji else PHOTO_JUDGE)
    if name == str(EMOJI_JUDGE) and not EMOJI_JUDGE.is_dir():
        raise DataError(
            f"this installation has no bundled judge (looked in {EMOJI_JUDGE})",
            remedy="seed train-tokenizer nano-judge makes one; --judge takes its folder, or an "
            "open_clip model such as ViT-L-14/openai",
        )
    if name in PUBLISHED_TARGET and pictures.config.name == "seed-2":
        reporter.warn(
            f"{pictures.name} was trained towards {name}: as a judge it favours its pupil"
        )
    return load_judge(name, device=pick_device(device))


def judge_facts(judge: ClipJudge) -> dict[str, str]:
    """Name of a judge, and, of one that is a folder, a digest of its
    weights: what a score names.
    """
    folder = Path(judge.name)
    if not folder.is_dir():
        return {"name": judge.name}
    return {
        "name": "nano-judge" if folder == EMOJI_JUDGE else folder.name,
        "weights": weights_digest(folder),
    }


def judge_pictures(
    run: SampleRun,
    pairs: Mapping[str, Pair],
    lines: Sequence[dict[str, Any]],
    judge: ClipJudge,
    batch_size: int,
    reporter: Reporter,
) -> list[dict[str, Any]]:
    """Drawn lines -> `drawn`, `truth` and `caption`: packed features of each; a run inside
    the run for each judge.

    Args:
        run: Whose pictures they are.
        pairs: True pictures and captions by key.
        lines: `key` and `picture` of each, the file relative to the folder or None.
        judge: Compares.
        batch_size: Samples that are judged together.
        reporter: Hears of progress.

    Raises:
        DataError: A picture is lost or broken.
    """
    drawn_files = {line["key"]: line["picture"] and run.folder / line["picture"] for line in lines}

    def ask(batch: dict[str, Pair]) -> list[dict[str, Any]]:
        truths = [read_picture(pair.image) for pair in batch.values()]
        for key, truth in zip(batch, truths, strict=True):
            small = truth.copy()
            small.thumbnail((_THUMBNAIL_PX, _THUMBNAIL_PX))
            save_image(small, run.folder / TRUTH / f"{key}.png")
        here = [key for key in batch if drawn_files[key] is not None]
        features = judge.image_features(
            [*truths, *(open_drawn(drawn_files[key]) for key in here)]
        ).numpy()
        drawn = dict(zip(here, features[len(truths) :], strict=True))
        words = judge.text_features([pair.caption for pair in batch.values()]).numpy()
        return [
            {
                "drawn": pack_feature(drawn[key]) if key in drawn else None,
                "truth": pack_feature(features[place]),
                "caption": pack_feature(words[place]),
            }
            for place, key in enumerate(batch)
        ]

    with open_judgements(run, judge, reporter) as judged:
        return judged.answer(pairs, ask, batch_size=batch_size, what="judgements")


def open_judgements(
    run: SampleRun, judge: ClipJudge, reporter: Reporter
) -> AbstractContextManager[SampleRun]:
    """The folder of what `judge` finds of a run's answers, inside the run's own."""
    facts = judge_facts(judge)
    weights = [facts["weights"][:8]] if "weights" in facts else []
    folder = re.sub(r"[^A-Za-z0-9.-]+", "_", "-".join(["judge", facts["name"], *weights]))
    return open_samples(
        run.settings["benchmark"],
        run.settings["dataset"],
        run.settings["split"],
        settings={"judge": facts, "answers": run.digest},
        output=run.folder / folder,
        reporter=reporter,
    )


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

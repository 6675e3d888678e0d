"""What a picture of ours was drawn from, as its PNG file says it."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from PIL import Image

PNG_KEY = "seed"  # text chunk of our pictures: a JSON object that says what they were drawn from


def picture_facts(
    codes: Sequence[int],
    *,
    model: str,
    fingerprint: str | None,
    steps: int,
    guidance: float,
    seed: int,
    negative: Sequence[int] | None = None,
) -> dict[str, Any]:
    """Everything that a picture's bytes depend on, as its file states it.

    Args:
        codes: [Q].
        model: Name of the tokenizer whose codes they are.
        fingerprint: Its fingerprint; None while only the weights could tell.
        steps: Denoising steps.
        guidance: How closely the picture decoder followed the codes.
        seed: Of the start noise.
        negative: Codes [Q] of the image that the picture was moved away from.
    """
    facts: dict[str, Any] = {
        "codes": list(codes),
        "model": model,
        "fingerprint": fingerprint,
        "steps": steps,
        "guidance": guidance,
        "seed": seed,
    }
    return facts if negative is None else facts | {"negative": list(negative)}


def save_picture(image: Image.Image, path: Path, facts: dict[str, Any], *, made_by: str) -> None:
    """Drawn picture -> file that carries what it was drawn from; it appears whole or not at all.

    Args:
        image: What was drawn.
        path: Its ending says the type; only PNG can hold the facts.
        facts: As `picture_facts` gives them, and whatever else decided the picture.
        made_by: The command.

    Raises:
        DataError: The ending is no image type that can be written, or the folder cannot be
            written to.
    """
    from seedcli.data.images.images import save_image  # loads numpy, which a dry run does without

    save_image(image, path, text={PNG_KEY: json.dumps(facts), "Software": made_by})


def read_picture_facts(path: Path) -> dict[str, Any] | None:
    """Picture of ours -> what it was drawn from (codes, model, fingerprint, steps, guidance, seed);
    None for any other file.
    """
    from PIL import Image, UnidentifiedImageError

    try:
        with Image.open(path, formats=["PNG"]) as image:
            facts = json.loads(image.text[PNG_KEY])  # type: ignore[attr-defined]
    except (OSError, UnidentifiedImageError, KeyError, ValueError, SyntaxError):
        return None
    return facts if isinstance(facts, dict) else None

"""What a picture of ours was drawn from, as its PNG file says it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

PNG_KEY = "seed"  # text chunk of our pictures: a JSON object that says what they were drawn from


def read_picture_facts(path: Path) -> dict[str, Any] | None:
    """Picture of ours -> what it was drawn from (codes, model, fingerprint, steps, guidance, seed);
    None for any other file.
    """
    from PIL import Image, UnidentifiedImageError

    try:
        with Image.open(path, formats=["PNG"]) as image:
            facts = json.loads(image.text[PNG_KEY])
    except (OSError, UnidentifiedImageError, KeyError, ValueError, SyntaxError):
        return None
    return facts if isinstance(facts, dict) else None

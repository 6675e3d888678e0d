"""Tiny files made by hand in each published layout: what `seed tokens build` is given, and the
documents that it must make of them.

A picture in `documents` is the name of its file in angle brackets; what a layout leaves out on
purpose is among the records too.
"""

from __future__ import annotations

from tests.published_dialogues import DIALOGUES
from tests.published_pictures import PICTURES
from tests.published_questions import QUESTIONS

PUBLISHED = DIALOGUES | QUESTIONS | PICTURES
OPTIONS = {"interleaved": {"swap": 0.0, "max_images": 7}}

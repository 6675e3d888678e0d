"""Names of metrics, for people."""

from __future__ import annotations

import re


def metric_words(name: str) -> str:
    """`t2i_r10` -> `picture recall at 10`: what is found, by the other of the two."""
    if recall := re.fullmatch(r"(i2t|t2i)_r(\d+)", name):
        return f"{'text' if recall[1] == 'i2t' else 'picture'} recall at {recall[2]}"
    return {"r_mean": "mean recall"}.get(name, name.replace("_", " "))

"""Silence while models are loaded: what libraries draw and advise then is nothing for a user."""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Iterator
from typing import Any

from transformers.utils import logging as transformers_logging


@contextlib.contextmanager
def quiet(*others: Any, advice: bool = False) -> Iterator[None]:
    """Silences the progress bars of transformers, and its advice; restores what was set before.

    Args:
        others: Modules `utils.logging` of other libraries, to be silenced too.
        advice: Is heard all the same: which weights are missing, say.
    """
    modules = (transformers_logging, *others)
    before = [(one.get_verbosity(), one.is_progress_bar_enabled()) for one in modules]
    for one in modules:
        if not advice:
            one.set_verbosity(logging.ERROR)
        one.disable_progress_bar()
    try:
        yield
    finally:
        for one, (verbosity, bar) in zip(modules, before, strict=True):
            one.set_verbosity(verbosity)
            if bar:
                one.enable_progress_bar()

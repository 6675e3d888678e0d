"""SEED: images as 32 discrete codes that a language model reads and writes like words.

The names below are the library; each is imported when it is first used, so that `import seedcli`
loads no torch.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from seedcli.errors import DataError as DataError
    from seedcli.errors import NumericalError as NumericalError
    from seedcli.errors import SeedError as SeedError
    from seedcli.errors import UsageError as UsageError
    from seedcli.recipe.read import load_recipe as load_recipe
    from seedcli.workflows.chat.seed_chat import SeedChat as SeedChat
    from seedcli.workflows.library import evaluate as evaluate
    from seedcli.workflows.library import open_tokens as open_tokens
    from seedcli.workflows.library import plan as plan
    from seedcli.workflows.library import train as train
    from seedcli.workflows.pictures import SeedTokenizer as SeedTokenizer

__version__ = "0.2.0"

_HOMES = {
    "SeedTokenizer": "seedcli.workflows.pictures",
    "SeedChat": "seedcli.workflows.chat.seed_chat",
    "open_tokens": "seedcli.workflows.library",
    "load_recipe": "seedcli.recipe.read",
    "train": "seedcli.workflows.library",
    "evaluate": "seedcli.workflows.library",
    "plan": "seedcli.workflows.library",
    "SeedError": "seedcli.errors",
    "UsageError": "seedcli.errors",
    "DataError": "seedcli.errors",
    "NumericalError": "seedcli.errors",
}
__all__ = ["__version__", *_HOMES]  # noqa: PLE0604 - the keys are strings


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'seedcli' has no attribute {name!r}")
    value = getattr(importlib.import_module(_HOMES[name]), name)
    globals()[name] = value  # from now on without this function
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *_HOMES})

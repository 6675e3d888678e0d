"""Figures of a training for TensorBoard, Weights & Biases or Trackio, by Accelerate's trackers.

They get what `metrics.jsonl` gets, which stays the record: a tracker is for looking on.
"""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from seedcli.errors import UsageError

if TYPE_CHECKING:
    from accelerate.tracking import GeneralTracker

TrackerName = Literal["none", "tensorboard", "wandb", "trackio"]
PROJECT = "seed"  # of Weights & Biases and of Trackio


def require_tracker(name: TrackerName) -> None:
    """Looks for a tracker's package before anything is loaded; torch-free.

    Raises:
        UsageError: It is not installed.
    """
    if name != "none" and find_spec(name) is None:
        raise UsageError(
            f"run.tracker = {name} needs the package {name}, which is not installed",
            remedy=f"pip install {name}; or run.tracker=none, since metrics.jsonl has the same",
        )


def open_tracker(
    name: TrackerName, folder: Path, settings: dict[str, Any]
) -> GeneralTracker | None:
    """A tracker that has begun; the main process calls this.

    TensorBoard's files lie in `folder/tensorboard`. The others are told the project `seed` and the
    folder's name; their own environment variables say where they send it, as WANDB_MODE=offline.

    Args:
        name: Which; `none` gives None.
        folder: Of the training.
        settings: What decides the training; lists are told as text.

    Raises:
        UsageError: Its package is not installed.
    """
    require_tracker(name)
    if name == "none":
        return None
    from accelerate.tracking import TensorBoardTracker, TrackioTracker, WandBTracker

    title = "/".join(folder.resolve().parts[-2:])
    tracker: GeneralTracker
    match name:
        case "tensorboard":
            tracker = TensorBoardTracker("tensorboard", folder)
        case "wandb":
            tracker = WandBTracker(PROJECT, name=title, dir=str(folder))
        case "trackio":
            tracker = TrackioTracker(PROJECT, name=title)
    tracker.start()
    plain = (bool, int, float, str)
    tracker.store_init_configuration(
        {key: value if isinstance(value, plain) else str(value) for key, value in settings.items()}
    )
    return tracker

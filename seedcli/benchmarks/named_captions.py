"""Published sets of pictures and captions by name: where they are looked for, and the sizes of the
splits that published numbers are of.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True)
class HubSet:
    """Plain files of a hub dataset: tars of `.jpg` + `.txt` (captions a line), or parquet with
    `image` and `text` (a list).
    """

    repo: str
    revision: str
    pattern: str
    size_gb: float


@dataclass(frozen=True)
class NamedSet:
    """Where a published set is looked for.

    Attributes:
        published: Split -> images and captions, as published numbers use them.
        files: Caption files under the data root, the first that exists wins.
        image_folders: Where their pictures may lie under the data root.
        hub: Tried in order when nothing lies there.
    """

    published: Mapping[str, tuple[int, int]]
    files: tuple[str, ...]
    image_folders: tuple[str, ...]
    hub: tuple[HubSet, ...]


# Published: the 5K and 1K test splits of Karpathy and Fei-Fei (2015), as BLIP-2 and SEED use them.
# Hub: as pages of 2024-2026 showed them.
NAMED_SETS = {
    "flickr30k": NamedSet(
        published={"test": (1_000, 5_000)},
        files=(
            "flickr30k/dataset_flickr30k.json",
            "flickr30k/flickr30k_test.json",
            "flickr30k/flickr_annotations_30k.csv",
        ),
        image_folders=(
            "flickr30k/images",
            "flickr30k/flickr30k-images",
            "flickr30k/flickr30k_images",
            "flickr30k",
        ),
        hub=(
            HubSet(
                "clip-benchmark/wds_flickr30k",
                "f8af3ceee1b944bf761340682621dfafd23974d2",
                "test/*.tar",
                0.15,
            ),
            HubSet("royokong/flickr30k_test", "main", "data/test-*.parquet", 0.15),
        ),
    ),
    "coco": NamedSet(
        published={"test": (5_000, 25_010)},
        files=(
            "coco/dataset_coco.json",
            "coco/coco_karpathy_test.json",
            "coco/annotations/coco_karpathy_test.json",
        ),
        image_folders=("coco/images", "coco", "coco/images/val2014", "coco/val2014"),
        hub=(
            HubSet(
                "clip-benchmark/wds_mscoco_captions",
                "3bf9ad5d280b03126293bcc691585015e29ce691",
                "test/*.tar",
                0.84,
            ),
            HubSet("royokong/coco_test", "main", "data/test-*.parquet", 0.8),
        ),
    ),
}

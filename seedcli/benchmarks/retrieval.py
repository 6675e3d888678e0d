"""Recall@1, 5 and 10 between images and captions: similarities or features -> ranks -> percent. Pure functions, no model and no file.

Ties count against the model: the rank of the right answer is the number of wrong ones that are at least as similar. So the result depends
neither on the order of the candidates nor on a sort, and features that have collapsed to one point score 0 instead of luck.
"""

from __future__ import annotations

import math
from collections.abc import Iterator

import torch
from torch import Tensor

from seedcli.errors import NumericalError

RECALL_AT = (1, 5, 10)
_CHUNK = 1024  # rows of similarity at a time: 100 MB for the 25,010 captions of COCO


def rank_similarity(similarity: Tensor, txt2img: Tensor) -> tuple[Tensor, Tensor]:
    """Similarity [N images, M texts] and the image of each text [M] -> ranks from 0, of images [N] and of texts [M], int64.

    An image's rank is that of its best caption among the captions of others; an image without captions ranks last (M). A text's rank is
    that of its image.

    Source: AILab-CVC/SEED@93b3cf4:LV/tasks/retrieval.py (report metrics). Differs from source: its order of ties is that of a sort.
    """
    return _rank_chunks(
        ((slice(0, len(similarity)), similarity),), ((slice(0, similarity.shape[1]), similarity.T),), txt2img, similarity.shape
    )


def rank_features(image_features: Tensor, text_features: Tensor, txt2img: Tensor, *, chunk: int = _CHUNK) -> tuple[Tensor, Tensor]:
    """L2-normalised features [N,F] and [M,F], the image of each text [M] -> ranks of images [N] and of texts [M].

    The similarity is the dot product, without temperature; it is computed in chunks of rows and never held whole.

    Raises:
        NumericalError: A feature is not finite.
    """
    for what, features in (("image", image_features), ("text", text_features)):
        bad = int((~features.isfinite().all(dim=-1)).sum())
        if bad:
            raise NumericalError(f"{bad} of {len(features)} {what} features hold NaN or infinity", remedy="try --dtype float32")

    def rows(queries: Tensor, candidates: Tensor) -> Iterator[tuple[slice, Tensor]]:
        for start in range(0, len(queries), chunk):
            yield slice(start, start + chunk), queries[start : start + chunk] @ candidates.T

    shape = torch.Size((len(image_features), len(text_features)))
    return _rank_chunks(rows(image_features, text_features), rows(text_features, image_features), txt2img, shape)


def _rank_chunks(image_rows, text_rows, txt2img: Tensor, shape: torch.Size) -> tuple[Tensor, Tensor]:
    num_images, num_texts = shape
    images = torch.arange(num_images, device=txt2img.device)
    i2t, t2i = [], []
    for part, similarity in image_rows:
        own = txt2img[None, :] == images[part, None]
        best = similarity.masked_fill(~own, -math.inf).amax(dim=1, keepdim=True)
        i2t.append(torch.where(own.any(dim=1), ((similarity >= best) & ~own).sum(dim=1), num_texts))
    for part, similarity in text_rows:
        own = txt2img[part, None] == images[None, :]
        right = similarity.gather(1, txt2img[part, None])
        t2i.append(((similarity >= right) & ~own).sum(dim=1))
    return torch.cat(i2t), torch.cat(t2i)


def recall_metrics(i2t_ranks: Tensor, t2i_ranks: Tensor) -> dict[str, float]:
    """Ranks [N] and [M] -> `i2t_r1`, `i2t_r5`, `i2t_r10`, `t2i_r1`, `t2i_r5`, `t2i_r10` in percent and their mean `r_mean`."""
    ranks = {"i2t": i2t_ranks, "t2i": t2i_ranks}
    metrics = {f"{way}_r{k}": 100.0 * (ranks[way] < k).double().mean().item() for way in ranks for k in RECALL_AT}
    return {**metrics, "r_mean": sum(metrics.values()) / len(metrics)}


def chance_metrics(txt2img: Tensor, num_images: int) -> dict[str, float]:
    """The image of each text [M] -> what a random order is expected to reach, keyed and in percent as `recall_metrics`.

    An image with c of the M captions is found within K draws without replacement with probability 1 - C(M-c, K) / C(M, K).
    """
    num_texts = len(txt2img)
    counts = torch.bincount(txt2img, minlength=num_images).tolist()
    metrics = {}
    for k in RECALL_AT:
        hits = [1.0 - math.comb(num_texts - c, k) / math.comb(num_texts, k) if k <= num_texts else float(c > 0) for c in counts]
        metrics[f"i2t_r{k}"] = 100.0 * sum(hits) / num_images
    for k in RECALL_AT:
        metrics[f"t2i_r{k}"] = 100.0 * min(1.0, k / num_images)
    return {**metrics, "r_mean": sum(metrics.values()) / len(metrics)}


def select_images(keep: Tensor, txt2img: Tensor) -> tuple[Tensor, Tensor]:
    """Mask of images [N] and the image of each text [M] -> mask of their texts [M], and the image of each of these among the kept."""
    numbers = torch.cumsum(keep.long(), dim=0) - 1
    texts = keep[txt2img]
    return texts, numbers[txt2img[texts]]

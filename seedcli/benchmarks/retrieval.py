"""Recall@1, 5 and 10 between images and captions: similarities or features -> ranks -> percent.
Pure functions, no model and no file.

Ties count against the model: the rank of the right answer is the number of wrong ones that are at
least as similar. So the result depends neither on the order of the candidates nor on a sort, and
features that have collapsed to one point score 0 instead of luck.
"""

from __future__ import annotations

import math
from collections.abc import Iterator

import torch
from torch import Tensor

from seedcli.benchmarks.intervals import ends_of, resample_means
from seedcli.errors import NumericalError

RECALL_AT = (1, 5, 10)
_CHUNK = 1024  # rows of similarity at a time: 100 MB for COCO's 25,010 captions


def rank_features(
    image_features: Tensor, text_features: Tensor, txt2img: Tensor, *, chunk: int = _CHUNK
) -> tuple[Tensor, Tensor]:
    """L2-normalised features [N,F] and [M,F], the image of each text [M] -> ranks from 0, of images
    [N] and of texts [M], int64.

    An image's rank is that of its best caption among the captions of others; an image without
    captions ranks last (M). A text's rank is that of its image. The similarity is the dot product,
    without temperature; it is computed in chunks of rows and never held whole.

    Raises:
        NumericalError: A feature is not finite.

    Source: AILab-CVC/SEED@93b3cf4:LV/tasks/retrieval.py (report metrics). Differs from source: its
    order of ties is that of a sort.
    """
    for what, features in (("image", image_features), ("text", text_features)):
        bad = int((~features.isfinite().all(dim=-1)).sum())
        if bad:
            raise NumericalError(
                f"{bad} of {len(features)} {what} features hold NaN or infinity",
                remedy="try --dtype float32",
            )
    num_images, device = len(image_features), txt2img.device

    # Two passes over the same chunks: the similarities of the right pairs, then how many of the
    # others reach them. Another kernel would round the right ones in its own way and break ties.
    def similarity_rows() -> Iterator[tuple[int, Tensor]]:
        for start in range(0, num_images, chunk):
            yield start, image_features[start : start + chunk] @ text_features.T

    right = torch.empty(len(txt2img), dtype=torch.float64, device=device)
    for start, rows in similarity_rows():
        texts = torch.nonzero((txt2img >= start) & (txt2img < start + len(rows))).squeeze(1)
        right[texts] = rows[txt2img[texts] - start, texts].double()
    best = torch.full((num_images,), math.nan, dtype=torch.float64, device=device).scatter_reduce(
        0, txt2img, right, "amax", include_self=False
    )
    own = torch.zeros(num_images, dtype=torch.long, device=device).index_add(
        0, txt2img, (right >= best[txt2img]).long()
    )
    i2t = [torch.zeros(0, dtype=torch.long, device=device)]
    t2i = torch.full_like(txt2img, -1)  # the right image reaches itself
    for start, rows in similarity_rows():
        i2t.append((rows >= best[start : start + len(rows), None].to(rows.dtype)).sum(dim=1))
        t2i += (rows >= right.to(rows.dtype)).sum(dim=0)
    return torch.where(best.isnan(), len(txt2img), torch.cat(i2t) - own), t2i


def recall_metrics(i2t_ranks: Tensor, t2i_ranks: Tensor) -> dict[str, float]:
    """Ranks [N] and [M] -> `i2t_r1`, `i2t_r5`, `i2t_r10`, `t2i_r1`, `t2i_r5`, `t2i_r10` in percent
    and their mean `r_mean`.
    """
    ranks = {"i2t": i2t_ranks, "t2i": t2i_ranks}
    metrics = {
        f"{way}_r{k}": 100.0 * (ranks[way] < k).double().mean().item()
        for way in ranks
        for k in RECALL_AT
    }
    return {**metrics, "r_mean": sum(metrics.values()) / len(metrics)}


def recall_intervals(
    i2t_ranks: Tensor, t2i_ranks: Tensor, txt2img: Tensor
) -> dict[str, tuple[float, float]]:
    """Ranks [N] and [M], image of each text [M] -> 95 % bootstrap intervals in percent,
    keyed as `recall_metrics`.

    Images are drawn, each with all its captions, since captions of one picture are not independent.
    All figures share the draws, so that the interval of their mean is that of one and the same
    sample. The candidates stay what they are: ranks are not computed anew.
    """
    hits = torch.zeros(len(i2t_ranks), 2 * len(RECALL_AT), dtype=torch.float64)
    counts = torch.ones_like(hits)
    counts[:, len(RECALL_AT) :] = torch.bincount(txt2img, minlength=len(i2t_ranks))[:, None]
    for column, k in enumerate(RECALL_AT):
        hits[:, column] = (i2t_ranks < k).double()
        hits[:, len(RECALL_AT) + column].index_add_(0, txt2img, (t2i_ranks < k).double())
    means = 100.0 * torch.from_numpy(resample_means(hits.numpy(), counts.numpy()))
    low, high = ends_of(torch.cat([means, means.mean(dim=1, keepdim=True)], dim=1).numpy()).tolist()
    names = [f"{way}_r{k}" for way in ("i2t", "t2i") for k in RECALL_AT] + ["r_mean"]
    return dict(zip(names, zip(low, high, strict=True), strict=True))


def chance_metrics(txt2img: Tensor, num_images: int) -> dict[str, float]:
    """The image of each text [M] -> what a random order is expected to reach, keyed and in
    percent as `recall_metrics`.

    An image with c of the M captions is found within K draws without replacement with probability
    1 - C(M-c, K) / C(M, K).
    """
    num_texts = len(txt2img)
    counts = torch.bincount(txt2img, minlength=num_images).tolist()
    metrics = {}
    for k in RECALL_AT:
        hits = [
            1.0 - math.comb(num_texts - c, k) / math.comb(num_texts, k)
            if k <= num_texts
            else float(c > 0)
            for c in counts
        ]
        metrics[f"i2t_r{k}"] = 100.0 * sum(hits) / num_images
    for k in RECALL_AT:
        metrics[f"t2i_r{k}"] = 100.0 * min(1.0, k / num_images)
    return {**metrics, "r_mean": sum(metrics.values()) / len(metrics)}


def select_images(keep: Tensor, txt2img: Tensor) -> tuple[Tensor, Tensor]:
    """Mask of images [N] and the image of each text [M] -> mask of their texts [M], and the image
    of each of these among the kept.
    """
    numbers = torch.cumsum(keep.long(), dim=0) - 1
    texts = keep[txt2img]
    return texts, numbers[txt2img[texts]]

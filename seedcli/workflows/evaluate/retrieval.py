"""Measurements: a model and a benchmark's data -> one JSON-ready result. Embeddings are cached, so
that a second figure costs nothing.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from seedcli.benchmarks.query_variance import query_variance
from seedcli.benchmarks.retrieval import (
    chance_metrics,
    rank_features,
    recall_intervals,
    recall_metrics,
    select_images,
)
from seedcli.benchmarks.retrieval_sets import RetrievalSet, is_published_split
from seedcli.console import Reporter
from seedcli.data.images.page import SheetSample
from seedcli.errors import UsageError
from seedcli.models.visual.model import SeedModel
from seedcli.workflows.evaluate.requests import Feature, RetrievalRequest
from seedcli.workflows.evaluate.result_page import (
    answer_html,
    sample_pictures,
    write_result_page,
)
from seedcli.workflows.evaluate.retrieval_features import Eyes, FeatureCache
from seedcli.workflows.evaluate.samples import open_samples


def run_retrieval(
    request: RetrievalRequest, found: RetrievalSet, reporter: Reporter
) -> dict[str, Any]:
    """Zero-shot retrieval between pictures and captions in both directions:
    recall@1, 5 and 10 in percent.

    Pictures go through the preset's retrieval preprocessing; captions are cleaned and padded to 35
    tokens, or to as many as the model has positions for. The similarity is the dot product of the
    text feature and of one query's projected feature, the last one's unless `query` says otherwise.
    With `feature="codes"` it is that of the embeddings reconstructed from the codes.

    Source: AILab-CVC/SEED@93b3cf4:LV/models/blip2_models/blip2.py (compute_sim_matrix),
    LV/tasks/retrieval.py.

    A causal query sees those before it. `by_query` scores each query alone (`metrics`) and with
    those before it, as the mean of their features (`prefix_metrics`). The folder of the result has
    a line for each picture: its rank and those of its captions, from 0, among all candidates. A
    task of an array job computes its part of the features and leaves it in the cache.

    Returns:
        The envelope of every benchmark, with `metrics`, their `intervals`, what `chance` would
        reach, and the set's `subsets`; for a task of an array job what it computed.

    Raises:
        UsageError: No such set, split, model or query.
        DataError: Data or weights are missing or refused.
        NumericalError: A feature is not finite.
    """
    published = is_published_split(found)
    if request.limit is not None:
        found, published = found.first(request.limit), None if published is None else False
    eyes = Eyes(request, reporter)
    tokenizer = eyes.tokenizer
    num_queries = tokenizer.config.qformer.num_queries
    query = num_queries - 1 if request.query is None else request.query
    if not 0 <= query < num_queries:
        raise UsageError(
            f"--query {query}: {tokenizer.name} has the queries 0 to {num_queries - 1}",
            remedy="the last one is the default",
        )
    hint = "; it knows emoji only, --model seed-2 is the one for photographs"
    reporter.note(f"{tokenizer.name} answers{hint * (request.model == 'seed-nano')}")

    cached = FeatureCache(request, eyes, found, reporter)
    if not request.engine.part.is_whole:
        return cached.compute_part()
    features_of = cached.compute()
    text_features, embeddings = features_of.captions, features_of.pictures
    queries = list(range(num_queries)) if request.by_query else [query]
    features = _image_features(tokenizer, embeddings, request.feature, queries, request.batch_size)

    txt2img = torch.tensor(found.txt2img)
    subsets = {name: torch.tensor(flags) for name, flags in found.subsets.items()}
    main = subsets.pop("main", torch.ones(len(found.images), dtype=torch.bool))
    of_query = features[:, queries.index(query)]
    more: dict[str, Any] = {}
    if subsets:
        more["subsets"] = {
            name: {
                "num_images": int(keep.sum()),
                "num_captions": int(keep[txt2img].sum()),
                "metrics": _score(of_query, text_features, txt2img, keep),
            }
            for name, keep in subsets.items()
            if keep.any()
        }
    if request.by_query:
        more["by_query"] = _score_queries(features, text_features, txt2img, main)
        more["query_variance"] = query_variance(embeddings[main])

    settings = {
        "tokenizer": tokenizer.name,
        "fingerprint": tokenizer.fingerprint,
        "dtype": str(tokenizer.compute_dtype).removeprefix("torch."),
        "feature": request.feature,
        "query": query,
        "reranking": "none",
        "preprocessing": asdict(tokenizer.config.preprocess.retrieval),
        "max_text_tokens": eyes.max_text_tokens,
        "words": eyes.words_digest,
        "candidates": _candidates_digest(found, main),
    }
    with open_samples(
        "retrieval",
        found.name,
        found.split,
        settings=settings,
        output=request.output,
        reporter=reporter,
    ) as run:
        ranks = _ranks_of_pictures(of_query, text_features, found, main)
        lines = run.answer(
            ranks, lambda batch: list(batch.values()), batch_size=len(ranks), what="pictures"
        )
        i2t_ranks = torch.tensor([line["rank"] for line in lines])
        t2i_ranks = torch.tensor(
            [caption["rank"] for line in lines for caption in line["captions"]], dtype=torch.long
        )
        owners = torch.tensor(
            [number for number, line in enumerate(lines) for _ in line["captions"]],
            dtype=torch.long,
        )
        result = run.finish(
            num={"num_images": len(i2t_ranks), "num_captions": len(t2i_ranks)},
            model=tokenizer.name,
            fingerprint=tokenizer.fingerprint,
            metrics=recall_metrics(i2t_ranks, t2i_ranks),
            intervals=recall_intervals(i2t_ranks, t2i_ranks, owners),
            chance=chance_metrics(owners, len(i2t_ranks)),
            feature=request.feature,
            query=query,
            published_split=published,
            **more,
            cached=features_of.cached,
        )
    kept = [found.images[place] for place in main.nonzero().flatten().tolist()]
    samples = (
        SheetSample(
            key=key,
            pictures=sample_pictures([picture]),
            html=answer_html(
                None,
                [
                    ("Finds its text at place", str(line["rank"] + 1)),
                    *(
                        (f"Found at place {each['rank'] + 1} by", each["caption"])
                        for each in line["captions"]
                    ),
                ],
            ),
        )
        for (key, line), picture in zip(ranks.items(), kept, strict=True)
    )
    write_result_page(request.page, result, samples, number=len(kept))
    return result


def _score_queries(
    features: Tensor, text_features: Tensor, txt2img: Tensor, keep: Tensor
) -> list[dict[str, Any]]:
    """Features [N,Q,F] -> recall by each query alone, and with those before it."""
    prefixes = F.normalize(features.cumsum(dim=1), dim=-1)
    return [
        {
            "query": number,
            "metrics": _score(features[:, number], text_features, txt2img, keep),
            "prefix_metrics": _score(prefixes[:, number], text_features, txt2img, keep),
        }
        for number in range(features.shape[1])
    ]


def _ranks_of_pictures(
    image_features: Tensor, text_features: Tensor, found: RetrievalSet, keep: Tensor
) -> dict[str, dict[str, Any]]:
    """Features [N,F] and [M,F] of a set, mask of the pictures that take part [N] -> by picture, its
    rank and its captions' ranks.
    """
    texts, numbers = select_images(keep, torch.tensor(found.txt2img))
    i2t_ranks, t2i_ranks = (
        ranks.tolist()
        for ranks in rank_features(image_features[keep], text_features[texts], numbers)
    )
    lines = [
        {"image": Path(found.images[place].name).name, "rank": rank, "captions": []}
        for place, rank in zip(keep.nonzero().flatten().tolist(), i2t_ranks, strict=True)
    ]
    kept = [caption for caption, used in zip(found.captions, texts.tolist(), strict=True) if used]
    for caption, number, rank in zip(kept, numbers.tolist(), t2i_ranks, strict=True):
        lines[number]["captions"].append({"caption": caption, "rank": rank})
    return {f"{number:06d}": line for number, line in enumerate(lines)}


def _candidates_digest(found: RetrievalSet, keep: Tensor) -> str:
    """What a rank is among: pictures (by stamp, without their folder), captions, and
    which belongs to which.
    """
    stamps = [Path(image.stamp).name for image in found.images]
    content = json.dumps([stamps, found.captions, found.txt2img, keep.tolist()])
    return hashlib.sha256(content.encode()).hexdigest()[:16]


def _score(
    image_features: Tensor, text_features: Tensor, txt2img: Tensor, keep: Tensor
) -> dict[str, float]:
    """Features [N,F], [M,F], image of each text [M], mask of the images that
    take part [N] -> recalls.
    """
    texts, numbers = select_images(keep, txt2img)
    return recall_metrics(*rank_features(image_features[keep], text_features[texts], numbers))


@torch.inference_mode()
def _image_features(
    tokenizer: SeedModel,
    embeddings: Tensor,
    feature: Feature,
    queries: Sequence[int],
    batch_size: int,
) -> Tensor:
    """Causal embeddings [N,Q,D] -> L2-normalised features of some queries
    [N,len(queries),F] fp32 on the CPU.
    """
    device, parts = next(tokenizer.parameters()).device, []
    for batch in embeddings.split(batch_size):
        batch = batch.to(device, tokenizer.compute_dtype)
        if feature == "codes":
            batch = tokenizer.reconstruct(tokenizer.codes(tokenizer.code_inputs(batch)))
        parts.append(tokenizer.image_features(batch[:, list(queries)]).float().cpu())
    return torch.cat(parts)

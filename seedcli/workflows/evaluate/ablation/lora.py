"""`seed eval ablation --lora`: LoRA alone against LoRA and then every parameter but the input
embedding, on held-out pairs.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from seedcli.benchmarks.caption import check_scorer, score_captions
from seedcli.benchmarks.retrieval_sets import RetrievalSet
from seedcli.console import Reporter
from seedcli.models.language.generate import SamplingSettings
from seedcli.models.language.likelihood import token_log_likelihoods
from seedcli.workflows.evaluate.ablation.frame import (
    MADE_BY,
    Line,
    Scores,
    Seeded,
    compare_sides,
    open_ablation,
    without_seed,
)
from seedcli.workflows.evaluate.ablation.request import AblationRequest
from seedcli.workflows.evaluate.ablation.sides import Side, check_phases
from seedcli.workflows.evaluate.caption_codes import caption_prompt
from seedcli.workflows.evaluate.pictures import Pair
from seedcli.workflows.evaluate.samples import sample_seed

CAPTION_TOKENS = 32  # too few for an image, so that the grammar leaves words alone


def run_lora(request: AblationRequest, found: RetrievalSet, reporter: Reporter) -> dict[str, Any]:
    """Two language models of one tokenizer -> held-out losses, and how well they draw and describe.

    Pairs are written as pretraining writes them, in both orders: the picture's tokens after the
    caption, the caption's after the picture. Pictures are drawn from `<s>{caption}<img>` under the
    grammar, once with each seed; captions are greedy, from `<s>` and the picture.

    Returns:
        The envelope of every benchmark. `metrics`, each with the side's name before it:
        `text_loss` and `image_loss`, nats a token, means over pictures (the paper says that
        the second is better and gives no figures), `clip_i` of drawn pictures, `cider` of
        captions; `difference_*`, full minus lora; `chance` of `clip_i` is that of pictures
        that do not belong together.

    Raises:
        UsageError: The models were not trained so, or sampling that knows no seed.
        DataError: Other tokenizers, or data or weights are missing or refused.
        Interrupted: Ctrl-C; what is answered is kept.
    """
    check_scorer("words")
    sampling = request.choice()
    second = Side("full", request.full, request, reporter=reporter)
    first = Side("lora", request.lora, request, like=second, reporter=reporter)
    check_phases(first, second, reporter)
    num_queries = second.pictures.num_queries
    # the open image and EOI
    sampling = dataclasses.replace(sampling, max_new_tokens=num_queries + 1)
    with open_ablation(
        "lora",
        [first, second],
        request,
        found,
        reporter=reporter,
        caption="first",
        prompts=["<s>{caption}<img>", "<s>{image}"],
        constrained=True,
        decoding=without_seed(sampling),
    ) as run:
        read: dict[str, dict[str, Line]] = {}
        drawn: dict[str, dict[Seeded, Line]] = {}
        for side in run.sides():
            read[side.name] = run.answer_pairs(side, "read", _Reader(side), "pairs")
            artist = _Artist(side, sampling, run.folder)
            drawn[side.name] = run.answer_seeds(side, artist, "pictures")
        judgement = run.judge_seeds(drawn)
        references: dict[str, list[str]] = {key: [] for key in run.pairs}
        for caption, number in zip(run.found.captions, run.found.txt2img, strict=True):
            references.get(f"{number:06d}", []).append(caption)
        return run.finish(
            _scores(read, drawn, judgement.similarity, references),
            counts={"num_pictures": sum(map(len, drawn.values()))},
            chance=run.chance_of_seeds(drawn, judgement),
            samples=run.samples(drawn, read),
        )


class _Reader:
    """Pairs -> loss of the caption after the picture, of the picture after the caption, and the
    caption that the model would give.
    """

    def __init__(self, side: Side):
        self.side = side

    def __call__(self, batch: Mapping[str, Pair]) -> list[dict[str, Any]]:
        llm = self.side.speaker.llm
        vocabulary = llm.vocabulary
        spans = [
            vocabulary.codes_to_ids(codes)
            for codes in self.side.pictures.read([pair.image for pair in batch.values()])
        ]
        # without BOS and BOI
        captions = [caption_prompt(llm, pair.caption)[1:-1] for pair in batch.values()]
        after_picture = [[vocabulary.bos, *span] for span in spans]
        text = token_log_likelihoods(
            llm, after_picture, [[*caption, vocabulary.eos] for caption in captions]
        )
        after_words = [[vocabulary.bos, *caption] for caption in captions]
        image = token_log_likelihoods(llm, after_words, spans)
        greedy = SamplingSettings(temperature=0.0, top_p=1.0, max_new_tokens=CAPTION_TOKENS)
        answers = llm.generate(after_picture, greedy)
        return [
            {
                "text_loss": round(-sum(words) / len(words), 5),
                "image_loss": round(-sum(tokens) / len(tokens), 5),
                "caption": " ".join(
                    part for part in answer.segments if isinstance(part, str)
                ).strip(),
            }
            for words, tokens, answer in zip(text, image, answers, strict=True)
        ]


class _Artist:
    """Captions -> pictures, under the grammar."""

    def __init__(self, side: Side, sampling: SamplingSettings, folder: Path):
        self.side, self.sampling, self.folder = side, sampling, folder

    def __call__(self, batch: Mapping[str, tuple[int, str, Pair]]) -> list[dict[str, Any]]:
        llm = self.side.speaker.llm
        prompts = [caption_prompt(llm, pair.caption) for _, _, pair in batch.values()]
        seeds = [sample_seed(seed, key) for seed, key, _ in batch.values()]
        codes = {
            key: next(part for part in answer.segments if not isinstance(part, str))
            for key, answer in zip(
                batch, llm.generate(prompts, self.sampling, seeds=seeds), strict=True
            )
        }
        paths = self.side.pictures.paint(codes, seeds, self.folder, made_by=MADE_BY)
        return [
            {"asked": pair.caption, "codes": list(each), "picture": path}
            for (_, _, pair), each, path in zip(batch.values(), codes.values(), paths, strict=True)
        ]


def _scores(
    read: Mapping[str, Mapping[str, Line]],
    drawn: Mapping[str, Mapping[Seeded, Line]],
    similarity: Mapping[str, float],
    references: Mapping[str, list[str]],
) -> Scores:
    """Lines of both sides -> scores of each, and full minus lora."""
    parts: dict[str, Scores] = {}
    for side, lines in read.items():
        captions = score_captions(
            [line["caption"] for line in lines.values()], [references[key] for key in lines]
        )
        parts[side] = {
            **{
                name: {(key,): line[name] for key, line in lines.items()}
                for name in ("text_loss", "image_loss")
            },
            "clip_i": {sample: similarity[line["key"]] for sample, line in drawn[side].items()},
            # a single picture has no CIDEr
            "cider": {(key,): score for key, score in zip(lines, captions.cider, strict=False)},
        }
    return compare_sides(parts, "full", "lora")

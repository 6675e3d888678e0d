"""`seed eval ablation --lora`: LoRA alone against LoRA and then every parameter but the input
embedding, on held-out pairs.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from seedcli.benchmarks.ablation import paired_differences, score_groups
from seedcli.benchmarks.caption import check_scorer, score_captions
from seedcli.benchmarks.retrieval_sets import is_published_split
from seedcli.console import Reporter
from seedcli.errors import UsageError
from seedcli.models.language.generate import SamplingSettings
from seedcli.models.language.likelihood import token_log_likelihoods
from seedcli.workflows.evaluate.ablation.sides import (
    PICTURES,
    AblationSettings,
    Side,
    check_phases,
    describe_sides,
    judge_drawn,
    without_seed,
)
from seedcli.workflows.evaluate.caption_codes import caption_prompt
from seedcli.workflows.evaluate.judge import judge_facts
from seedcli.workflows.evaluate.pictures import Pair
from seedcli.workflows.evaluate.samples import open_samples, sample_seed

CAPTION_TOKENS = 32  # too few for an image, so that the grammar leaves words alone
_MADE_BY = "seed eval ablation"


def run_lora(
    lora: str, full: str, settings: AblationSettings, *, reporter: Reporter | None = None
) -> dict[str, Any]:
    """Two language models of one tokenizer -> held-out losses, and how well they draw and describe.

    Pairs are written as pretraining writes them, in both orders: the picture's tokens after the
    caption, the caption's after the picture. Pictures are drawn from `<s>{caption}<img>` under the
    grammar, once with each seed; captions are greedy, from `<s>` and the picture.

    Args:
        lora: Language model that ended after its LoRA phase.
        full: Language model with a full phase after it.
        settings: What the ablations share.
        reporter: Hears of progress.

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
    reporter = reporter or Reporter()
    check_scorer("words")
    sampling = settings.choice()
    if sampling.num_beams > 1:
        raise UsageError(
            "seeds of single captions and beams do not go together", remedy="--beams 1"
        )
    second = Side("full", full, settings, reporter=reporter)
    sides = [Side("lora", lora, settings, like=second, reporter=reporter), second]
    check_phases(*sides, reporter)
    num_queries = second.pictures.visual.config.qformer.num_queries
    # the open image and EOI
    sampling = dataclasses.replace(sampling, max_new_tokens=num_queries + 1)
    found, pairs = settings.load_set(reporter)
    judge = settings.find_judge(second.pictures, reporter)
    references: dict[str, list[str]] = {key: [] for key in pairs}
    for caption, number in zip(found.captions, found.txt2img, strict=True):
        references.get(f"{number:06d}", []).append(caption)
    decided = {
        "part": "lora",
        "data": found.digest,
        "caption": "first",
        "prompts": ["<s>{caption}<img>", "<s>{image}"],
        "constrained": True,
        "decoding": without_seed(sampling),
        **{side.name: side.settings() for side in sides},
    }
    with open_samples(
        "ablation",
        found.name,
        found.split,
        settings=decided,
        output=settings.output,
        engine=settings.engine,
        device=settings.device,
        reporter=reporter,
    ) as run:
        reporter.note(f"answers and pictures in {run.folder}")
        read: dict[str, dict[str, dict[str, Any]]] = {}
        drawn: dict[str, dict[tuple[int, str], dict[str, Any]]] = {}
        reused = 0
        for side in sides:
            seen = {f"{side.name}-read-{key}": pair for key, pair in pairs.items()}
            lines = run.answer(
                seen, _Reader(side), batch_size=settings.batch_size, what=f"{side.name} pairs"
            )
            read[side.name] = dict(zip(pairs, lines, strict=True))
            reused += run.num_reused
            asked = {
                f"{side.name}-s{seed}-{key}": (seed, key, pair)
                for seed in settings.seeds
                for key, pair in pairs.items()
            }
            artist = _Artist(side, sampling, run.folder)
            lines = run.answer(
                asked, artist, batch_size=settings.batch_size, what=f"{side.name} pictures"
            )
            drawn[side.name] = {
                (seed, key): line
                for (seed, key, _), line in zip(asked.values(), lines, strict=True)
            }
            reused += run.num_reused
            side.rest()
        run.num_reused = reused
        files = {
            line["key"]: run.folder / line["picture"]
            for side in drawn.values()
            for line in side.values()
        }
        truths = {
            line["key"]: pairs[key].image
            for side in drawn.values()
            for (_, key), line in side.items()
        }
        judgement = judge_drawn(run, files, truths, judge, settings.batch_size, reporter)
        published = is_published_split(found)
        return run.finish(
            num={"num_images": len(pairs), "num_pictures": len(files)},
            **describe_sides(sides),
            **score_groups(_scores(read, drawn, judgement.similarity, references)),
            chance={
                f"{side}_clip_i": judgement.chance(
                    line["key"] for (seed, _), line in lines.items() if seed == settings.seeds[0]
                )
                for side, lines in drawn.items()
            },
            seeds=list(settings.seeds),
            judge=judge_facts(judge),
            published_split=False if published and len(pairs) < len(found.images) else published,
        )


class _Reader:
    """Pairs -> loss of the caption after the picture, of the picture after the caption, and the
    caption that the model would give.
    """

    def __init__(self, side: Side):
        self.side = side

    def __call__(self, batch: Mapping[str, Pair]) -> list[dict[str, Any]]:
        llm = self.side.llm
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
        prompts = [caption_prompt(self.side.llm, pair.caption) for _, _, pair in batch.values()]
        seeds = [sample_seed(seed, key) for seed, key, _ in batch.values()]
        answers = self.side.llm.generate(prompts, self.sampling, seeds=seeds)
        codes = [
            next(part for part in answer.segments if not isinstance(part, str))
            for answer in answers
        ]
        paths = [f"{PICTURES}/{key}.png" for key in batch]
        self.side.pictures.paint(
            codes, [self.folder / path for path in paths], seeds, made_by=_MADE_BY
        )
        return [
            {"asked": pair.caption, "codes": list(each), "picture": path}
            for (_, _, pair), each, path in zip(batch.values(), codes, paths, strict=True)
        ]


def _scores(
    read: Mapping[str, Mapping[str, dict[str, Any]]],
    drawn: Mapping[str, Mapping[tuple[int, str], dict[str, Any]]],
    similarity: Mapping[str, float],
    references: Mapping[str, list[str]],
) -> dict[str, dict[tuple[Any, ...], float]]:
    """Lines of both sides -> metric -> score by (seed, picture), or by (picture,)."""
    parts: dict[str, dict[str, dict[tuple[Any, ...], float]]] = {}
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
    scores = {
        f"{side}_{name}": each for side, metrics in parts.items() for name, each in metrics.items()
    }
    for name in parts["full"]:
        values, samples = paired_differences(parts["full"][name], parts["lora"][name])
        scores[f"difference_{name}"] = dict(zip(samples, values, strict=True))
    return scores

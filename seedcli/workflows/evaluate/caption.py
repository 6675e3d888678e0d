"""`seed eval caption`: a language model describes pictures; its words are scored
against reference captions.
"""

from __future__ import annotations

import dataclasses
import random
from collections.abc import Mapping, Sequence
from typing import Any

import torch

from seedcli.benchmarks.answers import AnswerCut, cut_answer
from seedcli.benchmarks.caption import (
    CaptionTokenisation,
    check_scorer,
    score_captions,
    words_of,
)
from seedcli.benchmarks.caption_sets import (
    CaptionedPicture,
    CaptionSet,
)
from seedcli.benchmarks.intervals import mean_metrics
from seedcli.benchmarks.nearest import chance_shares, right_ranks
from seedcli.console import Reporter
from seedcli.data.documents.conversations import read_prompts
from seedcli.data.images.page import SheetSample
from seedcli.errors import UsageError
from seedcli.models.language.likelihood import choice_log_likelihoods
from seedcli.workflows.evaluate.asking import PLAIN, AskedModel, Example
from seedcli.workflows.evaluate.requests import CaptionRequest
from seedcli.workflows.evaluate.result_page import (
    answer_html,
    sample_pictures,
    write_result_page,
)
from seedcli.workflows.evaluate.samples import first, open_samples, sample_seed

NAME_TOPS = (1, 5)
# examples that are drawn beyond those wanted, since pictures of the described emoji itself are none
_SPARE = 8


def run_caption(request: CaptionRequest, found: CaptionSet, reporter: Reporter) -> dict[str, Any]:
    """Captions of a split: CIDEr, BLEU-1 to 4 and ROUGE-L, times 100; for emoji also how the right
    name ranks among those of the split.

    A name's rank is by the log-likelihood of the whole answer, its end included, after the same
    prompt. `name_exact` is the share of written captions that are the name or the label themselves.
    Metrics of fewer pictures than the whole set are of those alone: CIDEr weighs words by how rare
    they are in the references that take part.

    The prompt is by default the published request, and nothing for `plain` prompts, as in
    pretraining. Examples (`shots`) are drawn for each picture by the seed. Differs from source:
    upstream takes pictures like the one that is described, found by retrieval.

    Returns:
        The envelope of every benchmark; for a task of an array job what it answered.

    Raises:
        UsageError: No such set, split, model or setting.
        DataError: Data or weights are missing or refused.
    """
    shots, cut, words = request.shots, request.cut, request.words
    check_scorer(words)
    examples = None
    if shots:
        drawn_from = dataclasses.replace(request, split=request.shots_split, allow_split=True)
        examples = drawn_from.load_captions(reporter)
    if examples is not None and shots >= len(examples.pictures):
        raise UsageError(
            f"--shots {shots}: split {request.shots_split} of {found.name} has "
            f"{len(examples.pictures)} pictures"
        )
    model = AskedModel(request.ask, reporter=reporter)
    prompt = request.prompt
    if prompt is None:
        prompt = "" if model.template == PLAIN else read_prompts()["question"]["describe_image"]
    names = candidate_names(found, plain=model.template == PLAIN)
    settings = model.settings | {
        "prompt": prompt,
        "shots": {"num": shots, "split": examples.split, "data": examples.digest}
        if examples
        else {"num": 0},
        "data": found.digest,
    }
    describer = _Describer(model, prompt, examples, shots, names)
    with open_samples(
        "caption",
        found.name,
        found.split,
        settings=settings,
        output=request.output,
        engine=request.engine,
        device=request.ask.device,
        reporter=reporter,
    ) as run:
        pictures = first(found.pictures, request.limit)
        answered = run.answer(
            pictures, describer.answer, batch_size=request.batch_size, what="pictures"
        )
        if run.is_part:
            return run.part_result()
        lines = dict(zip(pictures, answered, strict=True))
        scores = score_lines(pictures, lines, cut=cut, words=words)
        more: dict[str, Any] = {}
        if names:
            right = torch.tensor(
                [
                    [_name(one, plain=model.template == PLAIN) == name for name in names]
                    for one in pictures.values()
                ]
            )
            more = {
                "chance": {
                    f"name_{top}": share for top, share in chance_shares(right, NAME_TOPS).items()
                },
                "num_names": len(names),
            }
        subsets = {
            name: {key: pictures[key] for key in pictures if key in keys}
            for name, keys in found.subsets.items()
        }
        if subsets:
            more["subsets"] = {
                name: {"num_images": len(part), **score_lines(part, lines, cut=cut, words=words)}
                for name, part in subsets.items()
                if part
            }
        result = run.finish(
            num={
                "num_images": len(pictures),
                "num_captions": sum(len(one.references) for one in pictures.values()),
            },
            model=model.name,
            fingerprint=model.pictures.fingerprint,
            **scores,
            scoring={"cut": cut, "words": words},
            num_unended=sum(not line["ended"] for line in lines.values()),
            num_failed=sum("failed" in line for line in lines.values()),
            num_empty=sum(not cut_answer(line["answer"], cut) for line in lines.values()),
            published_split=None
            if found.published_split is None
            else found.published_split and len(pictures) == len(found.pictures),
            **more,
        )
    samples = (
        SheetSample(
            key=key,
            pictures=sample_pictures([one.picture]),
            html=answer_html(
                None,
                [
                    ("Answered:", cut_answer(lines[key]["answer"], cut)),
                    *(("Reference:", words) for words in one.references[:3]),
                ],
            ),
        )
        for key, one in pictures.items()
    )
    write_result_page(request.page, result, samples, number=len(pictures))
    return result


def candidate_names(found: CaptionSet, *, plain: bool) -> list[str]:
    """Names of a split among which the right one is looked for, each once and sorted; empty
    for sets without names.
    """
    return sorted(
        {name for one in found.pictures.values() if (name := _name(one, plain=plain)) is not None}
    )


def score_lines(
    pictures: Mapping[str, CaptionedPicture],
    lines: Mapping[str, Mapping[str, Any]],
    *,
    cut: AnswerCut,
    words: CaptionTokenisation,
) -> dict[str, dict[str, Any]]:
    """Pictures and their lines -> `metrics` and `intervals`; BLEU is a figure of the whole
    set and has no interval.
    """
    captions = [cut_answer(lines[key]["answer"], cut) for key in pictures]
    groups = [one.group for one in pictures.values()]
    scored = score_captions(
        captions, [one.references for one in pictures.values()], tokenisation=words
    )
    each: dict[str, Sequence[float]] = {"cider": scored.cider, "rouge_l": scored.rouge_l}
    if all(one.name is not None for one in pictures.values()):
        for top in NAME_TOPS:
            each[f"name_top{top}"] = [100.0 * (lines[key]["name_rank"] < top) for key in pictures]
        each["name_exact"] = [
            100.0 * (words_of(caption) in (words_of(one.name or ""), words_of(one.label or "")))
            for caption, one in zip(captions, pictures.values(), strict=True)
        ]
    found = mean_metrics(each, groups)
    bleu = {
        name: round(value, 4) for name, value in scored.metrics.items() if name.startswith("bleu")
    }
    metrics = {"cider": found["metrics"].pop("cider")} | bleu | found["metrics"]
    return {"metrics": metrics, "intervals": found["intervals"]}


def _name(picture: CaptionedPicture, *, plain: bool) -> str | None:
    """What the model is taught to call an emoji: conversations say `a waving hand`,
    captions say the label.
    """
    return picture.label if plain else picture.name


class _Describer:
    """Answers batches of pictures: a caption each, and where there are names the
    rank of the right one.
    """

    def __init__(
        self,
        model: AskedModel,
        prompt: str,
        examples: CaptionSet | None,
        shots: int,
        names: Sequence[str],
    ):
        self._model, self._prompt, self._shots, self._names = model, prompt, shots, names
        self._pool = list(examples.pictures.values()) if examples else []
        self._name_ids: list[list[int]] = []

    def answer(self, batch: dict[str, CaptionedPicture]) -> list[dict[str, Any]]:
        def ask(key: str, one: CaptionedPicture) -> list[int]:
            return self._model.prompt(
                self._model.read([one.picture]), self._prompt, self._draw_examples(key, one)
            )

        def answered(prompts: dict[str, list[int]]) -> list[dict[str, Any]]:
            lines = self._model.write(list(prompts.values()), list(prompts))
            if self._names:
                for line, (key, prompt) in zip(lines, prompts.items(), strict=True):
                    line |= self._rank_names(prompt, batch[key])
            return lines

        lines = self._model.ask_each(batch, lambda one: (one.picture,), ask, answered)
        # what could not be asked knows no name
        last = {"name_rank": len(self._names), "likeliest_name": None} if self._names else {}
        return [last | line if "failed" in line else line for line in lines]

    def _draw_examples(self, key: str, picture: CaptionedPicture) -> list[Example]:
        if not self._pool:
            return []
        rng, pool = random.Random(sample_seed(self._model.sampling.seed, key)), self._pool
        drawn = rng.sample(pool, min(len(pool), self._shots + _SPARE))
        chosen = [one for one in drawn if one.group != picture.group][: self._shots]
        codes = self._model.read([one.picture for one in chosen])
        return [
            Example(each, self._prompt, rng.choice(one.references))
            for each, one in zip(codes, chosen, strict=True)
        ]

    def _rank_names(self, prompt: Sequence[int], picture: CaptionedPicture) -> dict[str, Any]:
        if not self._name_ids:
            self._name_ids = self._model.encode_answers(self._names, ended=True)
        likelihoods = torch.tensor(
            [choice_log_likelihoods(self._model.llm, prompt, self._name_ids)]
        )
        right = torch.tensor(
            [[name == _name(picture, plain=self._model.template == PLAIN) for name in self._names]]
        )
        return {
            "name_rank": int(right_ranks(likelihoods, right)),
            "likeliest_name": self._names[int(likelihoods.argmax())],
        }

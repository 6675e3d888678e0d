"""`seed eval vqa`: a language model answers questions about pictures and videos, in words or by
choosing the likeliest of given answers.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from seedcli.benchmarks.answers import AnswerCut, cut_answer
from seedcli.benchmarks.intervals import mean_metrics
from seedcli.benchmarks.vqa import ChoiceScore, majority_scores, pick_choice, score_line
from seedcli.benchmarks.vqa_sets import QuestionSet, VisualQuestion
from seedcli.console import Reporter
from seedcli.data.documents.conversations import read_prompts
from seedcli.data.images.page import SheetSample
from seedcli.data.published_sets.questions import Question
from seedcli.errors import UsageError
from seedcli.files import json_text, publish_text
from seedcli.models.language.likelihood import choice_log_likelihoods
from seedcli.workflows.evaluate.asking import PLAIN, AskedModel
from seedcli.workflows.evaluate.requests import AnswerBy, VqaRequest
from seedcli.workflows.evaluate.result_page import (
    answer_html,
    sample_pictures,
    write_result_page,
)
from seedcli.workflows.evaluate.samples import open_samples

QUESTION = "{question}"
# AILab-CVC/SEED@93b3cf4:MultiModalLLM/eval/eval_vqa.py
PLAIN_PROMPT = f"Question: {QUESTION}\nAnswer:"
SUBMISSION_FILE = "submission.json"


def run_vqa(request: VqaRequest, found: QuestionSet, reporter: Reporter) -> dict[str, Any]:
    """Answers to the questions of a split -> accuracy in percent, over all and by kind, beside what
    blind answering reaches.

    `majority` is the score of always giving the answer of the question's kind that is most often
    right (with choices: the place that most often is), which takes no look at the pictures; with
    choices `chance` is that of guessing. A split whose answers are kept by an evaluation server has
    no accuracy; `submission.json` in the run's folder is what the server takes. A question that
    cannot be asked counts as answered wrong, and its line says why (`num_failed`).

    A prompt has `{question}` in it; by default it is the question and the published request for one
    word or phrase, for `plain` prompts the words of the official script for pretrained models.
    Choices are compared by `likelihood` where every question has some, but for the emoji, whose
    choices are all answers of a kind. Published answers of tuned models are greedy.

    Returns:
        The envelope of every benchmark, with `kinds`; for a task of an array job what it answered.

    Raises:
        UsageError: No such set, split, model or setting; likelihood of questions without choices.
        DataError: Data or weights are missing or refused.
    """
    prompt, cut = request.prompt, request.cut
    if prompt is not None and QUESTION not in prompt:
        raise UsageError(
            f"--prompt {prompt!r} does not say where the question stands",
            remedy=f"write {QUESTION} in it",
        )
    by = request.by or found.answered_by
    without = next((key for key, one in found.questions.items() if not one.row.choices), None)
    if by == "likelihood" and without is not None:
        raise UsageError(
            f"question {without} of {found.name} has no choices whose likelihood could be compared",
            remedy="--by generation",
        )
    model = AskedModel(request.ask, reporter=reporter)
    if prompt is None:
        prompt = (
            PLAIN_PROMPT
            if model.template == PLAIN
            else f"{QUESTION} {read_prompts()['question']['short_answer']}"
        )
    settings = model.settings | {
        "prompt": prompt,
        "by": by,
        "num_frames": found.num_frames,
        "data": found.digest,
    }
    if by == "likelihood":
        del settings["decoding"]
    with open_samples(
        "vqa",
        found.name,
        found.split,
        settings=settings,
        output=request.output,
        engine=request.engine,
        device=request.ask.device,
        reporter=reporter,
    ) as run:
        questions = found.questions
        answerer = _Answerer(model, prompt, by)
        lines = run.answer(
            questions, answerer.answer, batch_size=request.batch_size, what="questions"
        )
        if run.is_part:
            return run.part_result()
        rows = [one.row for one in questions.values()]
        scores = [
            score_line(row, line, cut=cut, by=request.choice_score)
            for row, line in zip(rows, lines, strict=True)
        ]
        scoring = {"choice_score": request.choice_score} if by == "likelihood" else {"cut": cut}
        more: dict[str, Any] = {"scoring": scoring}
        if by == "generation":
            more["num_unended"] = sum(not line["ended"] for line in lines)
            more["num_empty"] = sum(not cut_answer(line["answer"], cut) for line in lines)
        more["num_failed"] = sum("failed" in line for line in lines)
        if all(score is None for score in scores):
            _write_submission(run.folder / SUBMISSION_FILE, found, rows, lines, cut)
            more["submission"] = str(run.folder / SUBMISSION_FILE)
        result = run.finish(
            num={
                "num_images": len({ref.name for one in questions.values() for ref in one.pictures}),
                "num_questions": len(questions),
            },
            model=model.name,
            fingerprint=model.pictures.fingerprint,
            **score_kinds(list(questions.values()), scores, by=by),
            published_split=found.published_split,
            **more,
        )
    samples = (
        _shown(key, one, line, score, request.choice_score)
        for (key, one), line, score in zip(questions.items(), lines, scores, strict=True)
    )
    write_result_page(request.page, result, samples, number=len(lines))
    return result


def _shown(
    key: str,
    question: VisualQuestion,
    line: Mapping[str, Any],
    score: float | None,
    by: ChoiceScore,
) -> SheetSample:
    """A question and what was answered, for a page."""
    row = question.row
    answer = row.choices[pick_choice(line, by)] if "log_likelihoods" in line else line["answer"]
    said = [("Question:", row.question), ("Answered:", answer)]
    if row.answers:
        said.append(("Expected:", ", ".join(dict.fromkeys(row.answers))))
    return SheetSample(
        key=key,
        pictures=sample_pictures(question.pictures),
        html=answer_html(None if score is None else score >= 0.5, said),
    )


def score_kinds(
    questions: Sequence[VisualQuestion], scores: Sequence[float | None], *, by: AnswerBy
) -> dict[str, Any]:
    """Questions and their scores -> accuracies with intervals, of all questions and of each kind,
    beside those of blind answering.
    """
    rows = [one.row for one in questions]
    known = [number for number, score in enumerate(scores) if score is not None]
    blind = majority_scores(rows, by_choice=by == "likelihood")

    def over(numbers: Sequence[int]) -> dict[str, Any]:
        percents = {"accuracy": [100.0 * (scores[number] or 0.0) for number in numbers]}
        part = mean_metrics(percents, [questions[number].group for number in numbers])
        part["majority"] = {"accuracy": _percent([blind[number] for number in numbers])}
        if by == "likelihood":
            part["chance"] = {
                "accuracy": _percent([1 / len(rows[number].choices) for number in numbers])
            }
        return part

    kinds: dict[str, list[int]] = {}
    for number in known:
        kinds.setdefault(rows[number].kind, []).append(number)
    found = over(known)
    if len(kinds) > 1:
        found["kinds"] = {
            kind: {"num_questions": len(numbers), **over(numbers)}
            for kind, numbers in kinds.items()
        }
    return found


def _percent(shares: Sequence[float | None]) -> float | None:
    known = [share for share in shares if share is not None]
    return round(100.0 * sum(known) / len(known), 4) if known else None


def _write_submission(
    path: Path,
    found: QuestionSet,
    rows: Sequence[Question],
    lines: Sequence[Mapping[str, Any]],
    cut: AnswerCut,
) -> None:
    """Answers as the evaluation servers take them: VQA's `[{"question_id", "answer"}]`, VizWiz's
    `[{"image", "answer"}]`.
    """
    content = []
    for row, line in zip(rows, lines, strict=True):
        of = (
            {"image": row.picture}
            if found.name == "vizwiz"
            else {"question_id": int(row.key) if row.key.isdigit() else row.key}
        )
        content.append(of | {"answer": cut_answer(line["answer"], cut)})
    publish_text(path, json_text(content) + "\n")


class _Answerer:
    """Answers batches of questions."""

    def __init__(self, model: AskedModel, prompt: str, by: AnswerBy):
        self._model, self._prompt, self._by = model, prompt, by

    def answer(self, batch: dict[str, VisualQuestion]) -> list[dict[str, Any]]:
        def answered(prompts: dict[str, list[int]]) -> list[dict[str, Any]]:
            if self._by == "generation":
                return self._model.write(list(prompts.values()), list(prompts))
            return [
                self._compare(prompt, batch[key].row.choices) for key, prompt in prompts.items()
            ]

        return self._model.ask_each(batch, lambda one: one.pictures, self._ask, answered)

    def _ask(self, key: str, one: VisualQuestion) -> list[int]:
        asked = self._prompt.replace(QUESTION, one.row.question.strip())
        prompt = self._model.prompt(self._model.read(one.pictures), asked)
        if self._by == "likelihood":
            longest = max(map(len, self._model.encode_answers(one.row.choices, ended=False)))
            if len(prompt) + longest > self._model.llm.max_positions:
                raise UsageError(
                    f"prompt and answer have {len(prompt) + longest} tokens, the model's context "
                    f"has {self._model.llm.max_positions}"
                )
        return prompt

    def _compare(self, prompt: Sequence[int], choices: Sequence[str]) -> dict[str, Any]:
        ids = self._model.encode_answers(choices, ended=False)
        return {
            "log_likelihoods": choice_log_likelihoods(self._model.llm, prompt, ids),
            "num_tokens": [len(each) for each in ids],
        }

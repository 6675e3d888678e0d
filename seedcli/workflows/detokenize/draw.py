"""A plan -> pictures on the disk, on the engine that was asked for; one result for each, in the
order of the plan.
"""

from __future__ import annotations

import contextlib
import dataclasses
from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from seedcli.console import Reporter
from seedcli.data.images.facts import read_picture_facts, save_picture
from seedcli.data.tokens.code_lines import CodedImage
from seedcli.engine.engines import Place, Report, use_threads
from seedcli.engine.workers import open_workers
from seedcli.errors import PartialFailure
from seedcli.models.weights.description import ModelFacts
from seedcli.progress import Progress
from seedcli.workflows.detokenize.fill import check_filling_llm, prefix_embedding
from seedcli.workflows.detokenize.run import COMPLETED, Picture, Plan, check_fingerprints

if TYPE_CHECKING:
    from seedcli.workflows.pictures import SeedTokenizer


@dataclass(frozen=True)
class Batch:
    """Pictures that are drawn together: the same ones in every run and on every engine, so that a
    resumed run gives the bytes of an undisturbed one.

    Attributes:
        start: Place of the first in the plan.
        pictures: In order; those that are kept are drawn along, and not written.
        negatives: Codes to move away from: none, one for all, or one for each.
    """

    start: int
    pictures: list[Picture]
    negatives: list[CodedImage]


def draw(plan: Plan, *, reporter: Reporter | None = None) -> Iterator[dict[str, Any]]:
    """Draws the pictures of a plan and gives one result as each is on disk; whoever
    stops early keeps those.

    Args:
        plan: What to draw.
        reporter: Hears of progress.

    Raises:
        DataError: Weights or decoder are missing or do not fit, codes of another model, a
            picture cannot be written.
        NumericalError: The decoder produced NaN.
        PartialFailure: Batches ended the processes that drew them; the others are drawn.
    """
    engine, reporter = plan.request.engine, reporter or Reporter()
    engine.check()
    tokenizer = None
    if plan.model.fingerprint is None:
        tokenizer = _build_tokenizer(plan, reporter)
        plan = _with_fingerprint(plan, tokenizer.fingerprint, reporter)
    size = plan.request.batch_size
    batches = engine.part.of(
        [
            Batch(
                start,
                plan.pictures[start : start + size],
                plan.negatives[start : start + size] if len(plan.negatives) > 1 else plan.negatives,
            )
            for start in range(0, len(plan.pictures), size)
        ]
    )
    open_batches = [batch for batch in batches if not all(one.kept for one in batch.pictures)]
    results = {
        batch.start + place: _result(picture)
        for batch in batches
        for place, picture in enumerate(batch.pictures)
        if picture.kept
    }
    due = deque(batch.start + place for batch in batches for place in range(len(batch.pictures)))
    lost: list[str] = []
    with contextlib.ExitStack() as stack:
        progress = stack.enter_context(reporter.progress("drawing", len(due)))
        progress.resume(len(results))
        reports: Iterator[Report[Batch]] = iter(())
        if open_batches:
            tokenizer = tokenizer or _build_tokenizer(plan, reporter)
            how = dataclasses.replace(plan, pictures=[], negatives=[])
            drawing = OpenDrawing(how, tokenizer, progress)
            workers = stack.enter_context(
                open_workers(engine, drawing, device=plan.request.device, reporter=reporter)
            )
            reports = workers.run(open_batches)
        while True:
            while due and due[0] in results:
                yield results.pop(due.popleft())
            report = next(reports, None)
            if report is None:
                break
            if report.state == "running":
                place, result = report.said
                results[place] = result
                progress.advance()
            elif report.state == "lost":
                batch = report.part
                for place, picture in enumerate(batch.pictures, batch.start):
                    if place in due and place not in results:
                        due.remove(place)
                        lost.append(str(picture.path))
                        reporter.warn(f"{picture.path}: {report.said}")
    if lost:
        raise PartialFailure(
            f"{len(lost)} of {len(plan.pictures)} pictures are not drawn, first {lost[0]}",
            remedy="Try them again with --resume.",
        )


def _build_tokenizer(plan: Plan, reporter: Reporter) -> SeedTokenizer:
    # here: malformed codes are refused, and kept pictures named, before torch is loaded
    from seedcli.workflows.pictures import SeedTokenizer

    # The tokenizer's part is small, and on the CPU in float32 embeddings agree between machines
    # with and without a GPU.
    return SeedTokenizer(
        plan.files,
        device="cpu",
        decoder_device=plan.request.device,
        decoder_dtype=plan.request.dtype,
        reporter=reporter,
    )


@dataclass(frozen=True)
class OpenDrawing:
    """Opens a worker that draws batches; travels to other processes.

    Attributes:
        plan: How to draw, without pictures.
        tokenizer: Draws.
        progress: Hears of steps where it is of the same process.
    """

    plan: Plan
    tokenizer: SeedTokenizer
    progress: Progress

    @contextlib.contextmanager
    def __call__(self, place: Place, reporter: Reporter) -> Iterator[Any]:
        use_threads(place)
        plan, tokenizer = self.plan, self.tokenizer.load()
        # who made codes that come in a pipe has just said what the model is for
        piped = plan.request.inputs in ((), ("-",))
        reporter.note(f"pictures by {tokenizer.name if piped else tokenizer.title}")
        _ = tokenizer.decoder  # what is wrong with it is said before a language model is loaded
        embed = None
        if plan.request.codes_only is not None:
            embed = prefix_embedding(
                tokenizer,
                plan.request.codes_only,
                llm=plan.llm,
                device=plan.request.device,
                reporter=reporter,
            )
        yield lambda batch: self._draw(batch, embed)

    def _draw(self, batch: Batch, embed: Any) -> Iterator[tuple[int, dict[str, Any]]]:
        """Place in the plan and result of each picture that is not kept, when it is on disk."""
        plan, tokenizer, pictures = self.plan, self.tokenizer, batch.pictures
        codes = [picture.image.codes for picture in pictures]
        if embed is None:
            embeddings = tokenizer.generation_embeddings(codes)
        else:
            embeddings, completed = embed(codes, [picture.facts["seed"] for picture in pictures])
            if completed is not None:
                pictures = [
                    dataclasses.replace(picture, facts=picture.facts | {COMPLETED: list(row)})
                    for picture, row in zip(pictures, completed, strict=True)
                ]
        drawn = tokenizer.draw(
            embeddings,
            plan.request.seed + batch.start,
            steps=plan.steps,
            guidance=plan.guidance,
            negative=tokenizer.generation_embeddings([one.codes for one in batch.negatives])
            if batch.negatives
            else None,
            on_step=lambda step: self.progress.advance(0, step=step),
        )
        for place, (picture, drawing) in enumerate(zip(pictures, drawn, strict=True), batch.start):
            if not picture.kept:
                save_picture(drawing, picture.path, picture.facts, made_by="seed detokenize")
                yield place, _result(picture)


def _with_fingerprint(plan: Plan, fingerprint: str, reporter: Reporter) -> Plan:
    """A plan with the fingerprint that only the weights could tell; pictures of other weights are
    not kept.

    Raises:
        DataError: Codes of another model.
    """
    known = ModelFacts(config=plan.model.config, fingerprint=fingerprint)
    images = [picture.image for picture in plan.pictures] + plan.negatives
    check_fingerprints(images, known, plan.request.force, reporter)
    if plan.llm is not None:
        check_filling_llm(plan.llm, known, force=plan.request.force, reporter=reporter)

    def of(picture: Picture) -> Picture:
        earlier = read_picture_facts(picture.path) if picture.kept else None
        kept = earlier is not None and earlier.get("fingerprint") == fingerprint
        facts = picture.facts | {"fingerprint": fingerprint}
        return dataclasses.replace(picture, facts=facts, kept=kept)

    return dataclasses.replace(plan, pictures=[of(picture) for picture in plan.pictures])


def _result(picture: Picture) -> dict[str, Any]:
    result = {"source": picture.image.source, "output": str(picture.path), **picture.facts}
    if not picture.kept:
        return result
    earlier = read_picture_facts(picture.path) or {}
    return (
        result | {name: earlier[name] for name in (COMPLETED,) if name in earlier} | {"kept": True}
    )

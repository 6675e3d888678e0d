"""Codes -> pictures: what is to be drawn. `plan` reads and checks everything without torch;
`seedcli.workflows.detokenize.draw` draws it.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any, BinaryIO

from seedcli.console import Reporter
from seedcli.data.images.facts import picture_facts, read_picture_facts
from seedcli.data.tokens.code_lines import (
    CodedImage,
    read_code_file,
    read_code_lines,
    read_integers,
)
from seedcli.errors import DataError, UsageError
from seedcli.models.language.vocab import check_codes
from seedcli.models.weights.description import ModelFacts
from seedcli.models.weights.load import describe
from seedcli.models.weights.locate import ModelFiles, locate
from seedcli.models.weights.locate_llm import LlmFiles
from seedcli.workflows.detokenize.fill import (
    check_filling_llm,
    locate_filling_llm,
)
from seedcli.workflows.detokenize.paths import choose_paths
from seedcli.workflows.detokenize.request import DetokenizeRequest

COMPLETED = "completed_codes"  # known when they are drawn
_NUMBERS = re.compile(r"[\d\s,.+-]*\d[\d\s,.+-]*")
_MAX_SEED = 2**63


@dataclass(frozen=True, kw_only=True)
class Picture:
    """One picture to draw: `facts` goes into the file and, with source and
    output, into the result.
    """

    image: CodedImage
    path: Path
    facts: dict[str, Any]
    kept: bool


@dataclass(frozen=True, kw_only=True)
class Plan:
    """Everything that is known before weights are loaded."""

    request: DetokenizeRequest
    files: ModelFiles
    model: ModelFacts
    steps: int
    guidance: float
    pictures: list[Picture]
    negatives: list[CodedImage]
    llm: LlmFiles | None = None

    def summary(self) -> dict[str, Any]:
        """What `draw` would do."""
        return {
            "dry_run": True,
            "images": len(self.pictures),
            "kept": sum(picture.kept for picture in self.pictures),
            "first_output": str(self.pictures[0].path),
            "model": self.model.config.name,
            "fingerprint": self.model.fingerprint,
            "steps": self.steps,
            "guidance": self.guidance,
            "seed": self.request.seed,
            "batch_size": self.request.batch_size,
        }


def plan(
    request: DetokenizeRequest,
    *,
    stdin: BinaryIO | None = None,
    reporter: Reporter | None = None,
) -> Plan:
    """Reads and checks all codes, chooses the names of all pictures, and looks at
    what is there already.

    Args:
        request: What to draw, and how.
        stdin: Where `-` reads.
        reporter: Hears of what one should know.

    Raises:
        UsageError: Malformed codes, or settings that do not go together; nothing is drawn when one
            line of many is wrong.
        DataError: Codes of another model, unreadable input, a file in the way.
    """
    reporter = reporter or Reporter()
    output = request.checked_output()
    files = locate(request.model, reporter=reporter)
    model = describe(files)
    config = model.config
    steps = config.detokenize.steps if request.steps is None else request.steps
    guidance = config.detokenize.guidance if request.guidance is None else request.guidance
    if request.codes_only is not None and request.codes_only > config.qformer.num_queries:
        raise UsageError(
            f"--codes-only {request.codes_only}: an image has {config.qformer.num_queries} codes"
        )
    if request.negative is not None and guidance <= 1:
        raise UsageError(
            f"--negative has no effect with --guidance {guidance:g}",
            remedy="guidance must be over 1 to move away from something",
        )

    images = list(islice(_read(request.inputs, stdin, model), request.limit))
    if not images:
        raise UsageError(
            f"{_name(request.inputs)} holds no codes",
            remedy="seed tokenize img.jpg | seed detokenize -o out.png",
        )
    if request.seed + len(images) > _MAX_SEED:
        raise UsageError(
            f"--seed {request.seed} is too large for {len(images)} images; seeds end at "
            f"{_MAX_SEED - 1}"
        )
    _check(images, model, request.force, reporter)
    negatives: list[CodedImage] = []
    if request.negative is not None:
        negatives = list(_read([str(request.negative)], None, model))
        if len(negatives) not in (1, len(images)):
            raise UsageError(
                f"{request.negative} holds {len(negatives)} images; --negative takes one for all, "
                f"or one for each of {len(images)}"
            )
        _check(negatives, model, request.force, reporter)

    llm, fill = None, {}
    if request.codes_only is not None and request.fill == "llm":
        from seedcli.models.weights.digest import weights_digest

        llm = locate_filling_llm(request.llm, request.model, reporter=reporter)
        check_filling_llm(llm, model, force=request.force, reporter=reporter)
        fill = {"llm": llm.facts.name, "llm_digest": weights_digest(*llm.folders)}

    pictures = []
    for index, (image, path) in enumerate(
        zip(images, choose_paths([image.name for image in images], output), strict=True)
    ):
        facts = picture_facts(
            image.codes,
            model=config.name,
            fingerprint=model.fingerprint,
            steps=steps,
            guidance=guidance,
            seed=request.seed + index,
            negative=negatives[index % len(negatives)].codes if negatives else None,
        )
        if request.codes_only is not None:
            prefixes = bool(model.trained.get("trained_with_prefixes"))
            facts |= {
                "codes_only": request.codes_only,
                "fill": request.fill or "mean",
                "trained_with_prefixes": prefixes,
                **fill,
            }
        pictures.append(
            Picture(image=image, path=path, facts=facts, kept=_is_kept(path, facts, request))
        )
    return Plan(
        request=request,
        files=files,
        model=model,
        steps=steps,
        guidance=guidance,
        pictures=pictures,
        negatives=negatives,
        llm=llm,
    )


def _read(words: Sequence[str], stdin: BinaryIO | None, model: ModelFacts) -> Iterator[CodedImage]:
    num_queries = model.config.qformer.num_queries
    if list(words) == ["-"] or not words:
        if stdin is None or (not words and stdin.isatty()):
            raise UsageError(
                "no codes given",
                remedy="pass a file, 32 integers, or pipe them in: seed tokenize img.jpg | seed "
                "detokenize -o out.png",
            )
        return read_code_lines(stdin, "stdin", num_queries=num_queries)
    path = Path(words[0]).expanduser()
    if len(words) > 1 or (_NUMBERS.fullmatch(words[0]) and not path.exists()):
        return iter([read_integers(list(words))])
    if path.is_dir() or path.suffix == ".parquet":
        return _read_shards(path)
    return read_code_file(path, num_queries=num_queries)


def _read_shards(path: Path) -> Iterator[CodedImage]:
    from seedcli.data.tokens.shards import open_shards, read_rows

    shards = open_shards([path], content={"images", "segments"})
    made_by: dict[str, Any] = {
        "model": shards.header.tokenizer,
        "fingerprint": shards.header.fingerprint,
    }
    for shard in shards.paths:
        for number, row in enumerate(read_rows(shard)):
            where = f"{shard}, row {number}"
            if shards.header.content == "images":
                codes = [int(code) for code in row.codes]
                yield CodedImage(codes=codes, where=where, source=row.source, **made_by)
                continue
            pictures = list(row.codes())
            for place, codes in enumerate(pictures):
                yield CodedImage(
                    codes=list(codes),
                    where=f"{where}, picture {place}",
                    source=row.source,
                    frame=place if len(pictures) > 1 else None,
                    **made_by,
                )


def _name(words: Sequence[str]) -> str:
    return "stdin" if not words or list(words) == ["-"] else " ".join(words)


def _check(
    images: Sequence[CodedImage], model: ModelFacts, force: bool, reporter: Reporter
) -> None:
    if model.fingerprint is not None:
        check_fingerprints(images, model, force, reporter)
    for image in images:
        check_codes(
            image.codes,
            num_codes=model.config.codebook.num_codes,
            num_queries=model.config.qformer.num_queries,
            where=image.where,
        )


def check_fingerprints(
    images: Sequence[CodedImage], model: ModelFacts, force: bool, reporter: Reporter
) -> None:
    """Refuses codes of another model, or, with `force`, says that they are.

    Raises:
        DataError: Some are.
    """
    others = [image for image in images if image.fingerprint not in (None, model.fingerprint)]
    if not others:
        return
    first = others[0]
    message = (
        f"{first.where}: these codes were made by {first.model or 'another model'} "
        f"({first.fingerprint}), not by {model.config.name} ({model.fingerprint}); so were "
        f"{len(others)} of {len(images)}"
    )
    if not force:
        named = (
            f"--model {first.model}"
            if first.model and first.model != model.config.name
            else "--model with the model that made them"
        )
        raise DataError(message, remedy=f"{named}; or --force to draw them all the same")
    reporter.warn(message)


def _is_kept(path: Path, facts: dict[str, Any], request: DetokenizeRequest) -> bool:
    """Whether an earlier run has drawn this very picture and `resume` keeps it; refuses to
    replace what is not ours.

    Raises:
        DataError: The file in the way was not drawn by us.
    """
    if not path.exists() or (request.force and not request.resume):
        return False
    earlier = read_picture_facts(path)
    if earlier is None and not request.force:
        raise DataError(
            f"{path} exists and is no picture of seed detokenize",
            remedy="choose another -o, or --force to replace it",
        )
    if not request.resume or earlier is None:
        return False
    wanted = (
        facts
        if facts["fingerprint"]
        else {key: value for key, value in facts.items() if key != "fingerprint"}
    )
    return all(earlier.get(key) == value for key, value in wanted.items()) and set(earlier) - {
        COMPLETED
    } <= set(facts)

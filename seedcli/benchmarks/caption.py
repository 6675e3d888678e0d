"""Captions and references -> CIDEr, BLEU-1 to 4 and ROUGE-L, by pycocoevalcap's Python
scorers. Pure functions.

The scorers split at spaces; what words are is decided before, and decides the score. Published COCO
figures are of Stanford's PTB tokenizer, a Java program. `words` does in Python what it does to
captions; see `words_of` for where they part.
"""

from __future__ import annotations

import re
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from seedcli.errors import DataError, require_package

CaptionTokenisation = Literal["words", "ptb", "none"]
_WORD = re.compile(
    r"(?:[^\W\d_]\.){2,}"  # u.s., e.g.
    r"|(?:mr|mrs|ms|dr|st|jr|sr)\.(?=\s)"
    r"|(?<![\w)])[+-]?\d+(?:[.,:/]\d+)*(?!\w|[-./&'’]\w)"  # 5:30, 1,000, -1
    r"|\w+(?:[-./&'’]\w+)*"
    r"|[!?]{2,}"
    r"|[^\w\s.,:;!?\"'`’‘“”–—-]"  # &, %, ÷
)
_CLITIC = re.compile(r"(?<=\w)(n['’]t|['’](?:s|re|ve|ll|d|m))(?=$|['’])")
_APART = {
    "cannot": "can not",
    "gonna": "gon na",
    "gotta": "got ta",
    "wanna": "wan na",
    "(": "-lrb-",
    ")": "-rrb-",
}


@dataclass(frozen=True)
class CaptionScores:
    """Scores of N captions.

    Attributes:
        metrics: Of all together, times 100 as tables print them: `cider`, `bleu_1` to `bleu_4`,
            `rouge_l`. CIDEr may exceed 100.
        cider: Of each caption [N], same scale; its mean is the metric. It weighs words by how rare
            they are in all N captions' references, so it is a figure of the whole set; of a single
            picture there is none, and it is empty.
        rouge_l: Of each caption [N], same scale.
    """

    metrics: dict[str, float | None]
    cider: list[float]
    rouge_l: list[float]


def score_captions(
    captions: Sequence[str],
    references: Sequence[Sequence[str]],
    *,
    tokenisation: CaptionTokenisation = "words",
) -> CaptionScores:
    """N captions and the references of each -> scores.

    Args:
        captions: What a model wrote.
        references: At least one for each caption.
        tokenisation: `words`, `ptb` (needs Java) or `none`: the texts are words and
            single spaces already.

    Raises:
        ValueError: Nothing to score, or a caption without references.
        DataError: `ptb` where there is no Java.

    Source: Vedantam et al. 2015 (CIDEr-D), Papineni et al. 2002, Lin 2004; pycocoevalcap 1.2.
    """
    if not captions or len(captions) != len(references) or not all(references):
        raise ValueError(
            f"{len(captions)} captions with {len(references)} lists of references, of which "
            "some may be empty"
        )
    from pycocoevalcap.bleu.bleu import Bleu
    from pycocoevalcap.cider.cider import Cider
    from pycocoevalcap.rouge.rouge import Rouge

    said = {number: [caption] for number, caption in enumerate(captions)}
    known = {number: list(texts) for number, texts in enumerate(references)}
    said, known = _tokenize(said, tokenisation), _tokenize(known, tokenisation)
    cider: float | None = None
    each_cider: Sequence[float] = []
    if len(captions) > 1:  # of one picture every word is in every reference, and weighs nothing
        cider, each_cider = Cider().compute_score(known, said)
    bleu, _ = Bleu(4).compute_score(known, said, verbose=0)
    rouge, each_rouge = Rouge().compute_score(known, said)
    metrics = (
        {"cider": cider}
        | {f"bleu_{n}": value for n, value in enumerate(bleu, 1)}
        | {"rouge_l": rouge}
    )
    return CaptionScores(
        {name: value and 100.0 * float(value) for name, value in metrics.items()},
        [100.0 * float(value) for value in each_cider],
        [100.0 * float(value) for value in each_rouge],
    )


def words_of(caption: str) -> str:
    """Caption -> its words in lower case, one space between them, punctuation gone, clitics apart:
    `the dog's toy` -> `the dog 's toy`.

    Brackets are words, as they are in published scores. On every caption of the bundled
    emoji set equal to the PTB tokenizer; where they part: emoticons, quotes that stand for
    missing letters, `no. 1`.
    """
    words = []
    for word in _WORD.findall(caption.lower()):
        words.append(
            _APART.get(word) or _CLITIC.sub(lambda found: " " + found[1].replace("’", "'"), word)
        )
    return " ".join(words)


def _tokenize(
    texts: Mapping[int, list[str]], tokenisation: CaptionTokenisation
) -> dict[int, list[str]]:
    match tokenisation:
        case "none":
            return dict(texts)
        case "words":
            return {number: [words_of(text) for text in group] for number, group in texts.items()}
        case "ptb":
            check_scorer("ptb")
            from pycocoevalcap.tokenizer.ptbtokenizer import PTBTokenizer

            return PTBTokenizer().tokenize(
                {number: [{"caption": text} for text in group] for number, group in texts.items()}
            )


def check_scorer(tokenisation: CaptionTokenisation) -> None:
    """Says before hours of captioning what would be missing after them.

    Raises:
        UsageError: pycocoevalcap is not installed.
        DataError: `ptb` where there is no Java.
    """
    require_package("pycocoevalcap", extra="eval", needed_by="scoring captions")
    if tokenisation == "ptb" and shutil.which("java") is None:
        raise DataError(
            "the PTB tokenizer is a Java program, and this machine has no java",
            remedy="install a Java runtime, or --words words",
        )

"""Captions -> token ids for the Q-Former's text branch. On the path: beside the images, wherever
retrieval or stage I needs words.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path

import torch
from tokenizers import Tokenizer
from tokenizers.implementations import BertWordPieceTokenizer

from seedcli.errors import DataError

_PUNCTUATION = re.compile(r"[.!\"()*#:;~]")
_SPACE = re.compile(r"\s{2,}")
_MAX_WORDS = 50


def clean_caption(text: str) -> str:
    """Raw caption -> the form that training and retrieval see: lower case, ten punctuation marks
    blanked, at most `_MAX_WORDS` words.

    Source: BLIP's caption processor as used by AILab-CVC/SEED@93b3cf4 (spec and fixtures of
    `caption_preprocess`).
    """
    text = _SPACE.sub(" ", _PUNCTUATION.sub(" ", text.lower())).rstrip("\n").strip(" ")
    return " ".join(text.split(" ")[:_MAX_WORDS])


class CaptionTokenizer:
    """WordPiece of the text branch: captions -> ids [B,T] from [CLS] to [SEP], right-padded with
    0, and their mask [B,T].
    """

    def __init__(self, vocab: Path | Sequence[str]):
        """Takes a BERT vocabulary: a file with one piece a line, or the pieces.

        Raises:
            DataError: The file is missing, or there is no [CLS], [SEP], [UNK] or [PAD].
        """
        if isinstance(vocab, Path):
            if not vocab.is_file():
                raise DataError(
                    f"no WordPiece vocabulary at {vocab}",
                    remedy="a model folder needs `vocab.txt` for captions: seed models verify",
                )
            vocab = vocab.read_text(encoding="utf-8").splitlines()
        absent = [piece for piece in ("[PAD]", "[UNK]", "[CLS]", "[SEP]") if piece not in vocab]
        if absent:
            raise DataError(
                f"the vocabulary of {len(vocab)} pieces lacks {', '.join(absent)}; it is no "
                "BERT vocabulary"
            )
        self.pieces = list(vocab)
        ids = {piece: number for number, piece in enumerate(vocab)}
        self._tokenizer: Tokenizer = BertWordPieceTokenizer(ids, lowercase=True)._tokenizer

    def encode(self, captions: Sequence[str], max_tokens: int) -> tuple[torch.Tensor, torch.Tensor]:
        """Captions -> ids [B,T] int64 and mask [B,T] int64, 1 on real tokens; T is the longest
        caption's, at most `max_tokens`.

        Longer captions are cut on the right. Captions are cleaned here, so that no caller can
        forget it. Differs from source: the official code pads to `max_tokens`, which costs time and
        changes nothing, since padding is masked.
        """
        self._tokenizer.enable_truncation(max_tokens)
        self._tokenizer.enable_padding(pad_id=0)
        encoded = self._tokenizer.encode_batch([clean_caption(caption) for caption in captions])
        return torch.tensor([e.ids for e in encoded]), torch.tensor(
            [e.attention_mask for e in encoded]
        )

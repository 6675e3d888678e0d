"""Learned vocabularies are the same in every process, or a resumed run would read its
captions with other numbers.
"""

from __future__ import annotations

import hashlib
import subprocess
import sys

from transformers import CLIPTokenizer

from seedcli.models.drawing.target import save_words, train_bpe

PROGRAM = """
import hashlib, json
from tests.emoji_texts import train_texts
from seedcli.models.drawing.target import train_bpe
from seedcli.training.initialize import train_wordpiece
pieces = train_wordpiece(train_texts(), vocab_size=2048)
clip = train_bpe(train_texts(), vocab_size=2048, max_tokens=24).get_vocab()
print(len(pieces), hashlib.sha256(json.dumps([pieces, sorted(clip.items())]).encode()).hexdigest())
"""


def test_vocabularies_do_not_depend_on_the_process():
    found = {
        subprocess.run(
            [sys.executable, "-c", PROGRAM], capture_output=True, text=True, check=True
        ).stdout
        for _ in range(2)
    }
    assert len(found) == 1
    count, digest = found.pop().split()
    assert int(count) <= 2048 and len(digest) == len(hashlib.sha256().hexdigest())


def test_words_are_saved_as_they_were_made_however_they_were_used(tmp_path):
    words = train_bpe(["a dog", "a red dog"], vocab_size=514, max_tokens=8)
    save_words(words, tmp_path / "before")
    asked = {"padding": "longest", "truncation": True}
    ids = words(["a dog", "a"], **asked)["input_ids"]
    save_words(words, tmp_path / "after")  # a resumed run that reads nothing writes the first
    files = [tmp_path / name / "tokenizer.json" for name in ("before", "after")]
    assert files[0].read_bytes() == files[1].read_bytes()
    assert (
        CLIPTokenizer.from_pretrained(tmp_path / "after")(["a dog", "a"], **asked)["input_ids"]
        == ids
    )


def test_pieces_are_words_of_the_train_split():
    from seedcli.models.visual.captions import CaptionTokenizer
    from seedcli.training.initialize import train_wordpiece
    from tests.emoji_texts import train_texts

    pieces = train_wordpiece(train_texts(), vocab_size=2048)
    assert (
        pieces[:5] == ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
        and "face" in pieces
        and "##s" in pieces
    )
    ids, mask = CaptionTokenizer(pieces).encode(["A grinning face!", "flag"], 16)
    assert ids[0, 0] == 2 and ids[0, mask[0].sum() - 1] == 3 and int(mask[1].sum()) < ids.shape[1]
    assert 1 not in ids[mask.bool()].tolist()

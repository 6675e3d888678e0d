"""Learned vocabularies are the same in every process, or a resumed run would read its
captions with other numbers.
"""

from __future__ import annotations

import hashlib
import subprocess
import sys

PROGRAM = """
import hashlib, json
from seedcli.data.emoji import train_texts
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


def test_pieces_are_words_of_the_train_split():
    from seedcli.data.emoji import train_texts
    from seedcli.models.visual.captions import CaptionTokenizer
    from seedcli.training.initialize import train_wordpiece

    pieces = train_wordpiece(train_texts(), vocab_size=2048)
    assert (
        pieces[:5] == ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
        and "face" in pieces
        and "##s" in pieces
    )
    ids, mask = CaptionTokenizer(pieces).encode(["A grinning face!", "flag"], 16)
    assert ids[0, 0] == 2 and ids[0, mask[0].sum() - 1] == 3 and int(mask[1].sum()) < ids.shape[1]
    assert 1 not in ids[mask.bool()].tolist()

"""Text vocabularies with codes: whitespace as released weights saw it, ids asked from the
tokenizer, the same in every process.
"""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers
from transformers import AutoTokenizer, LlamaConfig, PreTrainedTokenizerFast

from seedcli.errors import DataError
from seedcli.models.language.code_vocabulary import CodeVocabulary
from seedcli.models.language.text_tokenizer import (
    extend_text_tokenizer,
    load_text_tokenizer,
    train_text_tokenizer,
)
from seedcli.models.language.vocab import format_span

RELEASED = Path(__file__).parents[2] / "parity" / "data" / "text_tokenizer"
SENTENCES = json.loads((RELEASED.parent / "text_sequences.json").read_text())["tokenise"]
TEXTS = [
    "a small dog runs",
    "the red bus\nwaits near the bridge",
    "12 birds above a green field",
] * 4


def wrong(text_tokenizer: PreTrainedTokenizerFast) -> list[str]:
    found = [
        case
        for case in SENTENCES
        if text_tokenizer.encode(case["text"], add_special_tokens=False) != case["input_ids"]
    ]
    found += [
        case
        for case in SENTENCES
        if text_tokenizer.encode(case["text"]) != case["with_special_tokens"]
    ]
    return [case["text"] for case in found]


def test_released_layout():
    assert len(SENTENCES) == 38
    assert wrong(load_text_tokenizer(RELEASED)) == []
    assert wrong(extend_text_tokenizer(RELEASED, 64)) == []


def test_extended_by_us_gives_the_published_order(tmp_path):
    shutil.copy(RELEASED / "tokenizer.model", tmp_path)
    extended = extend_text_tokenizer(tmp_path, 64)
    assert wrong(extended) == [] and extended.pad_token_id == 0 and len(extended) == 578
    assert CodeVocabulary.of(extended) == CodeVocabulary.of(load_text_tokenizer(RELEASED))


@pytest.mark.parametrize("with_model", [False, True], ids=["alone", "beside-a-llama"])
def test_saved_and_read_by_auto_tokenizer(tmp_path, with_model):
    extend_text_tokenizer(RELEASED, 64).save_pretrained(tmp_path)
    if with_model:
        LlamaConfig(vocab_size=578, architectures=["LlamaForCausalLM"]).save_pretrained(tmp_path)
    again = AutoTokenizer.from_pretrained(tmp_path)
    assert (
        wrong(again) == []
        and wrong(load_text_tokenizer(tmp_path)) == []
        and wrong(extend_text_tokenizer(again, 64)) == []
    )
    assert (
        CodeVocabulary.of(again).boi == 576
        and again.pad_token_id == 0
        and again.padding_side == "right"
    )


def test_newer_llama_rules_are_brought_back(tmp_path):
    """Since transformers 4.34 a Llama's file has no `▁` before later stretches: the base model's
    own rules do not survive.
    """
    rules = json.loads(load_text_tokenizer(RELEASED).backend_tokenizer.to_str())
    rules["normalizer"] = None
    rules["pre_tokenizer"] = {
        "type": "Metaspace",
        "replacement": "▁",
        "prepend_scheme": "first",
        "split": False,
    }
    rules["added_tokens"] = rules["added_tokens"][:3]
    (tmp_path / "tokenizer.json").write_text(json.dumps(rules))
    facts = {
        "tokenizer_class": "LlamaTokenizer",
        "bos_token": "<s>",
        "eos_token": {"content": "</s>"},
        "chat_template": "{{ 'x' }}",
    }
    (tmp_path / "tokenizer_config.json").write_text(json.dumps(facts))
    extended = extend_text_tokenizer(tmp_path, 64)
    assert wrong(extended) == [] and extended.chat_template == "{{ 'x' }}"


def byte_level() -> PreTrainedTokenizerFast:
    alphabet = ["<|begin|>", "<|end|>", *sorted(pre_tokenizers.ByteLevel.alphabet())]
    backend = Tokenizer(models.BPE({piece: id for id, piece in enumerate(alphabet)}, []))
    backend.pre_tokenizer, backend.decoder = (
        pre_tokenizers.ByteLevel(add_prefix_space=False),
        decoders.ByteLevel(),
    )
    backend.add_special_tokens(alphabet[:2])
    return PreTrainedTokenizerFast(
        tokenizer_object=backend, bos_token="<|begin|>", eos_token="<|end|>"
    )


def test_byte_level_vocabulary_keeps_its_rules(tmp_path):
    extended = extend_text_tokenizer(byte_level(), 16)
    vocabulary = CodeVocabulary.of(extended, num_queries=2)
    assert (
        vocabulary.first_code,
        vocabulary.boi,
        vocabulary.bos,
        vocabulary.eos,
        vocabulary.pad,
    ) == (258, 274, 0, 1, 1)
    ids = extended.encode(f"ab {format_span([3, 15])} c", add_special_tokens=False)
    assert ids == [
        *byte_level().encode("ab"),
        *vocabulary.codes_to_ids([3, 15]),
        *byte_level().encode("c"),
    ]
    extended.save_pretrained(tmp_path)
    assert (
        AutoTokenizer.from_pretrained(tmp_path).encode(
            f"ab {format_span([3, 15])} c", add_special_tokens=False
        )
        == ids
    )


def test_codes_and_ids():
    vocabulary = CodeVocabulary.of(load_text_tokenizer(RELEASED), num_queries=3)
    assert (
        vocabulary.codes_to_ids([0, 63, 5]) == [576, 512, 575, 517, 577]
        and vocabulary.span_length == 5
        and vocabulary.size == 578
    )
    assert vocabulary.ids_to_codes([512, 575]) == [0, 63]
    expected = [False, True, True, True, True, False]
    ids = [511, 512, 575, 576, 577, 578]
    assert (
        vocabulary.is_image_token(np.array(ids)).tolist()
        == vocabulary.is_image_token(torch.tensor(ids)).tolist()
        == expected
    )
    assert vocabulary.is_code(np.array(ids)).tolist() == [False, True, True, False, False, False]
    with pytest.raises(DataError, match=r"expected 3 of 0\.\.63"):
        vocabulary.codes_to_ids([0, 64, 5])
    with pytest.raises(DataError, match="not all code tokens"):
        vocabulary.ids_to_codes([511])


def with_tokens(folder: Path, tokens: list[str]) -> PreTrainedTokenizerFast:
    shutil.copy(RELEASED / "tokenizer.model", folder)
    (folder / "added_tokens.json").write_text(
        json.dumps({token: 512 + place for place, token in enumerate(tokens)})
    )
    return load_text_tokenizer(folder)


def pieces(*special: str, count: int = 32000) -> PreTrainedTokenizerFast:
    names = [*special, *(f"piece{n}" for n in range(count - len(special)))]
    backend = Tokenizer(models.BPE({name: id for id, name in enumerate(names)}, []))
    return PreTrainedTokenizerFast(
        tokenizer_object=backend, bos_token="<s>", eos_token="</s>", unk_token="<unk>"
    )


def test_published_layout_is_recognised_and_checked():
    published = CodeVocabulary.of(extend_text_tokenizer(pieces("<unk>", "<s>", "</s>"), 8192))
    assert published.is_published and published.size == 40194
    assert (published.first_code, published.boi, published.eoi, published.pad) == (
        32000,
        40192,
        40193,
        0,
    )
    with pytest.raises(DataError, match=r"are 0, 1, 40192, 40193; expected 1, 2"):
        CodeVocabulary.of(extend_text_tokenizer(pieces("<s>", "</s>", "<unk>"), 8192))
    assert not CodeVocabulary.of(load_text_tokenizer(RELEASED)).is_published


def test_refusals(tmp_path):
    with pytest.raises(DataError, match=r"neither tokenizer\.json nor tokenizer\.model"):
        load_text_tokenizer(tmp_path)
    with pytest.raises(DataError, match="already, the visual tokenizer has 512"):
        extend_text_tokenizer(RELEASED, 512)
    with pytest.raises(DataError, match="no image vocabulary: 0 code tokens"):
        CodeVocabulary.of(byte_level())
    with pytest.raises(DataError, match="not one row of ids"):
        CodeVocabulary.of(with_tokens(tmp_path, ["<img_00000>", "<img>", "<img_00001>", "</img>"]))
    (tmp_path / "tokenizer.model").write_bytes(b"nothing of the kind")
    with pytest.raises(DataError, match="no SentencePiece model"):
        load_text_tokenizer(tmp_path)
    (tmp_path / "tokenizer.json").write_text("[]")
    with pytest.raises(DataError, match="cannot be read"):
        load_text_tokenizer(tmp_path)


def test_learned_vocabulary_is_llama_like():
    learned = train_text_tokenizer(TEXTS, 320)
    assert learned.convert_ids_to_tokens([0, 1, 2, 3]) == ["<unk>", "<s>", "</s>", "<0x00>"]
    assert (learned.pad_token_id, learned.bos_token_id, learned.eos_token_id, len(learned)) == (
        0,
        1,
        2,
        320,
    )
    assert learned.tokenize("the 12 ü")[-6:] == ["▁", "1", "2", "▁", "<0xC3>", "<0xBC>"]
    assert (
        learned.decode(learned.encode("Über 12 dogs\n", add_special_tokens=False))
        == "Über 12 dogs\n"
    )
    vocabulary = CodeVocabulary.of(extend_text_tokenizer(learned, 512))
    assert (vocabulary.first_code, vocabulary.boi, vocabulary.eoi) == (320, 832, 833)
    with pytest.raises(DataError, match="cannot be learned"):
        train_text_tokenizer(TEXTS, 100)
    with pytest.raises(DataError, match="there are none"):
        train_text_tokenizer([" ", "\n"], 1000)


def test_another_process_and_no_code_of_ours(tmp_path):
    """One other process learns the same vocabulary, and reads a saved one through AutoTokenizer
    before our code is there.
    """
    extend_text_tokenizer(RELEASED, 64).save_pretrained(tmp_path)
    program = (
        "import json, sys; from transformers import AutoTokenizer; t = "
        "AutoTokenizer.from_pretrained(sys.argv[1])\n"
        "texts, learn_from = json.load(sys.stdin)\n"
        "ids = [t.encode(text, add_special_tokens=False) for text in texts]; assert 'seedcli' not "
        "in sys.modules\n"
        "from seedcli.models.language.text_tokenizer import train_text_tokenizer\n"
        "print(json.dumps([ids, train_text_tokenizer(learn_from, 320).backend_tokenizer.to_str()]))"
    )
    given = json.dumps([[case["text"] for case in SENTENCES], TEXTS])
    done = subprocess.run(
        [sys.executable, "-c", program, str(tmp_path)],
        input=given,
        capture_output=True,
        text=True,
        check=True,
    )
    ids, learned = json.loads(done.stdout)
    assert ids == [case["input_ids"] for case in SENTENCES]
    assert learned == train_text_tokenizer(TEXTS, 320).backend_tokenizer.to_str()


@pytest.mark.parametrize(
    ("file", "change", "said"),
    [
        ("tokenizer.json", {"added_tokens": [{"id": [], "content": "a"}]}, "is damaged"),
        ("tokenizer.json", {"truncation": 1}, "is damaged"),
        ("tokenizer_config.json", {"model_max_length": "long"}, "expected a number above 0"),
    ],
)
def test_damaged_files_are_named(tmp_path, file, change, said) -> None:
    byte_level().save_pretrained(tmp_path)
    path = tmp_path / file
    path.write_text(json.dumps(json.loads(path.read_text()) | change))
    with pytest.raises(DataError, match=said):
        load_text_tokenizer(tmp_path)

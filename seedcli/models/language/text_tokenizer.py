"""Words, code tokens, BOI and EOI -> ids: the text vocabulary of a language model,
extended by the codes.

Whitespace is what released weights were trained with (AILab-CVC/SEED@93b3cf4 under
transformers 4.30.2): every stretch of words has its own leading `▁`, and whitespace beside
image tokens vanishes. Both are written into `tokenizer.json`, so that any later loader gives
the same ids without our code.
"""

from __future__ import annotations

import copy
import io
import json
import re
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import sentencepiece
from tokenizers import Tokenizer, decoders, models, normalizers, processors
from transformers import PreTrainedTokenizerBase, PreTrainedTokenizerFast

from seedcli.errors import DataError
from seedcli.files import parse_json
from seedcli.models.language.vocab import BOI, CODE_TOKEN, EOI, format_code

_BYTE = re.compile(r"<0x[0-9A-F]{2}>")
_ROLES = ("bos_token", "eos_token", "unk_token", "pad_token")
_PROBES = (
    "a dog runs, 12 birds above!",
    "  two  spaces\nand a line ",
    "Straße № 7: «кот» 🐈 — ok?",
    "ALL CAPS 345",
    " ",
)


def load_text_tokenizer(folder: str | Path) -> PreTrainedTokenizerFast:
    """Folder of a language model with codes -> its text tokenizer, as `tokenizer.json` has it.

    The released folder layout (`tokenizer.model`, `added_tokens.json`) is read too. Unlike with
    AutoTokenizer, no model class rewrites the rules.

    Raises:
        DataError: The folder has neither file, or one of them is damaged.
    """
    rules, facts = _read_folder(Path(folder))
    longest = facts.get("model_max_length")
    if longest is not None and not (isinstance(longest, int | float) and longest > 0):
        raise DataError(
            f"{folder}: tokenizer_config.json says model_max_length = {str(longest)[:40]!r}, "
            "expected a number above 0"
        )
    try:
        return _build(rules, facts)
    except Exception as error:  # `tokenizers` raises nothing narrower
        raise DataError(f"{folder}: its text tokenizer is damaged ({str(error)[:200]})") from error


def extend_text_tokenizer(
    source: str | Path | PreTrainedTokenizerFast, num_codes: int
) -> PreTrainedTokenizerFast:
    """Text tokenizer of the Llama family -> the same with `num_codes` code
    tokens, then BOI and EOI.

    Codes that are there already stay where they are. Saved with `save_pretrained`,
    AutoTokenizer reads the same ids.

    Args:
        source: Folder with `tokenizer.json` or `tokenizer.model`, or a tokenizer.
        num_codes: Size of the codebook K.

    Raises:
        DataError: There is no text tokenizer, it cannot be converted, or it has
            another number of codes.
    """
    rules, facts = (
        _rules_and_facts(source)
        if isinstance(source, PreTrainedTokenizerBase)
        else _read_folder(Path(source))
    )
    known = {entry["content"] for entry in rules["added_tokens"]} | set(rules["model"]["vocab"])
    there = sum(CODE_TOKEN.fullmatch(token) is not None for token in known)
    if there not in (0, num_codes):
        raise DataError(
            f"the text tokenizer has {there} code tokens already, the visual tokenizer has "
            f"{num_codes} codes"
        )
    wanted = [*(format_code(code) for code in range(num_codes)), BOI, EOI]
    following = 1 + max(
        max(rules["model"]["vocab"].values()), *(entry["id"] for entry in rules["added_tokens"])
    )
    rules["added_tokens"] += [
        {"id": following + place, "content": token}
        for place, token in enumerate(token for token in wanted if token not in known)
    ]
    return _build(rules, facts)


def train_text_tokenizer(texts: Iterable[str], vocab_size: int) -> PreTrainedTokenizerFast:
    """Texts -> Llama's kind of vocabulary: BPE with byte fallback, digits apart, `<unk>` 0, `<s>`
    1, `</s>` 2; the same in every process.

    Args:
        texts: What pieces are learned from; lines are learned apart.
        vocab_size: Pieces, with the three special ones and 256 bytes; a small text may give fewer.

    Raises:
        DataError: There is no text, or `vocab_size` has no room for the bytes and characters.
    """
    lines = [line for text in texts for line in text.splitlines() if line.strip()]
    if not lines:
        raise DataError("a text vocabulary is learned from words, and there are none")
    trained = io.BytesIO()
    try:
        sentencepiece.SentencePieceTrainer.train(
            sentence_iterator=iter(lines),
            model_writer=trained,
            vocab_size=vocab_size,
            model_type="bpe",
            byte_fallback=True,
            split_digits=True,
            allow_whitespace_only_pieces=True,
            normalization_rule_name="identity",
            remove_extra_whitespaces=False,
            character_coverage=0.99995,
            max_sentence_length=1 << 20,
            unk_id=0,
            bos_id=1,
            eos_id=2,
            pad_id=-1,
            num_threads=1,
            hard_vocab_limit=False,
            minloglevel=2,
        )
    except RuntimeError as error:
        raise DataError(
            f"a vocabulary of {vocab_size} pieces cannot be learned from {len(lines)} "
            f"lines: {error}"
        ) from error
    return _build(_convert_sentencepiece(trained.getvalue(), "the learned vocabulary"), {})


def _read_folder(folder: Path) -> tuple[dict[str, Any], dict[str, Any]]:
    """Folder -> the rules of `tokenizer.json` and the facts of `tokenizer_config.json`."""
    quick, slow = folder / "tokenizer.json", folder / "tokenizer.model"
    try:
        if quick.is_file():
            rules = parse_json(quick.read_bytes())
            if "vocab" not in rules["model"]:
                raise KeyError("vocab")
        elif slow.is_file():
            rules = _convert_sentencepiece(slow.read_bytes(), str(slow))
            added = folder / "added_tokens.json"
            later = parse_json(added.read_bytes()) if added.is_file() else {}
            known = {entry["content"] for entry in rules["added_tokens"]}
            rules["added_tokens"] += [
                {"id": id, "content": token}
                for token, id in sorted(later.items(), key=lambda item: item[1])
                if token not in known
            ]
        else:
            raise DataError(
                f"{folder} has neither tokenizer.json nor tokenizer.model: no text tokenizer"
            )
        config = folder / "tokenizer_config.json"
        facts = parse_json(config.read_bytes()) if config.is_file() else {}
        template = folder / "chat_template.jinja"
        if template.is_file():
            facts["chat_template"] = template.read_text(encoding="utf-8")
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise DataError(f"the text tokenizer in {folder} cannot be read: {error}") from error
    return rules, facts


def _rules_and_facts(
    text_tokenizer: PreTrainedTokenizerBase,
) -> tuple[dict[str, Any], dict[str, Any]]:
    backend = getattr(text_tokenizer, "backend_tokenizer", None)
    if backend is None:
        raise DataError(
            f"{type(text_tokenizer).__name__} has no tokenizer.json rules; give its folder instead"
        )
    facts = {role: getattr(text_tokenizer, role) for role in _ROLES}
    return json.loads(backend.to_str()), facts | {
        "chat_template": text_tokenizer.chat_template,
        "model_max_length": text_tokenizer.model_max_length,
    }


def _build(rules: dict[str, Any], facts: dict[str, Any]) -> PreTrainedTokenizerFast:
    """Rules of a `tokenizer.json` and facts of a `tokenizer_config.json` -> tokenizer whose
    whitespace is the published one.

    A vocabulary of another kind than SentencePiece's (byte-level) keeps its own rules for words.
    """
    rules = copy.deepcopy(rules)
    pieces = rules["model"]["vocab"]
    words_are_published = bool(rules["model"].get("byte_fallback")) and "▁" in pieces
    if words_are_published:
        rules["normalizer"] = _state(
            normalizers.Sequence([normalizers.Prepend("▁"), normalizers.Replace(" ", "▁")]),
            "normalizer",
        )
        rules["pre_tokenizer"] = None
        plain = [
            decoders.Replace("▁", " "),
            decoders.ByteFallback(),
            decoders.Fuse(),
            decoders.Strip(" ", 1, 0),
        ]
        rules["decoder"] = _state(decoders.Sequence(plain), "decoder")
    names = {role: _name(facts.get(role)) for role in _ROLES}
    for role, usual in (("bos_token", "<s>"), ("eos_token", "</s>"), ("unk_token", "<unk>")):
        if names[role] is None and usual in pieces:
            names[role] = usual
    names["pad_token"] = names["pad_token"] or names["unk_token"] or names["eos_token"]
    special = {name for name in names.values() if name} | {BOI, EOI}
    for entry in rules["added_tokens"]:
        for flag in ("single_word", "lstrip", "rstrip", "normalized", "special"):
            entry.setdefault(flag, False)
        entry["special"] |= entry["content"] in special
        if words_are_published:
            entry["normalized"] = False
        if entry["content"] in (BOI, EOI) or CODE_TOKEN.fullmatch(entry["content"]):
            entry |= {"normalized": False, "lstrip": True, "rstrip": True}
    return PreTrainedTokenizerFast(
        tokenizer_object=Tokenizer.from_str(json.dumps(rules)),
        **{role: name for role, name in names.items() if name},
        clean_up_tokenization_spaces=False,
        padding_side="right",
        **{key: facts[key] for key in ("model_max_length", "chat_template") if facts.get(key)},
    )


def _name(token: Any) -> str | None:
    return token["content"] if isinstance(token, dict) else token


def _state(part: Any, field: str) -> Any:
    """Part of a pipeline -> its JSON, as `tokenizer.json` writes it."""
    carrier = Tokenizer(models.BPE())
    setattr(carrier, field, part)
    return json.loads(carrier.to_str())[field]


def _convert_sentencepiece(serialized: bytes, name: str) -> dict[str, Any]:
    """SentencePiece BPE model -> rules of the same ids.

    Merges are the ways to put a piece together from two others, best piece first.

    Raises:
        DataError: Not a SentencePiece model, or one whose rules give other ids than the model
            itself (unigram, other normalisation).
    """
    try:
        model = sentencepiece.SentencePieceProcessor(model_proto=serialized)
    except RuntimeError as error:
        raise DataError(f"{name} is no SentencePiece model: {error}") from error
    ids = {model.id_to_piece(id): id for id in range(model.get_piece_size())}
    merges = [
        (-model.get_score(id), ids[piece[:cut]], ids[piece[cut:]], piece[:cut], piece[cut:])
        for piece, id in ids.items()
        if not (model.is_control(id) or model.is_unknown(id) or _BYTE.fullmatch(piece))
        for cut in range(1, len(piece))
        if piece[:cut] in ids and piece[cut:] in ids
    ]
    backend = Tokenizer(
        models.BPE(
            ids,
            [(left, right) for *_, left, right in sorted(merges)],
            unk_token=model.id_to_piece(model.unk_id()),
            byte_fallback=True,
        )
    )
    special = [
        model.id_to_piece(id)
        for id in range(len(ids))
        if model.is_control(id) or model.is_unknown(id)
    ]
    backend.add_special_tokens(special)
    bos = model.id_to_piece(model.bos_id())
    backend.post_processor = processors.TemplateProcessing(
        single=f"{bos} $A", pair=f"{bos} $A {bos} $B", special_tokens=[(bos, model.bos_id())]
    )
    rules = json.loads(backend.to_str())
    built = _build(rules, {})
    for probe in _PROBES:
        expected, found = model.encode(probe), built.encode(probe, add_special_tokens=False)
        if expected != found:
            raise DataError(
                f"{name} is no BPE of Llama's kind: {probe!r} is {expected[:8]} by it and "
                f"{found[:8]} by its converted rules"
            )
    return rules

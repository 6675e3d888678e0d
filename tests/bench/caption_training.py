"""Two ways to train on the same captions, an update each in turn: packed rows by our trainer,
padded rows by Hugging Face's.

The padded way is the official run's: a caption and its picture a row, BOS and EOS around them,
padded to `max_length` with labels of -100.
"""

from __future__ import annotations

import functools
import random
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import torch
from torch.utils.data import Dataset
from transformers import (
    LlamaForCausalLM,
    PreTrainedTokenizerFast,
    Trainer,
    TrainerCallback,
    TrainingArguments,
)

from seedcli.data.documents.conversations import conversation_template
from seedcli.data.documents.documents import Sample
from seedcli.data.documents.packing import PADDING, PackedStream
from seedcli.data.documents.sequences import IGNORED, TokenSequence
from seedcli.models.language.code_vocabulary import CodeVocabulary
from seedcli.models.language.seed_llama import build_language_model
from seedcli.models.language.text_tokenizer import extend_text_tokenizer, train_text_tokenizer
from seedcli.recipe.language import (
    DocumentDataSection,
    DocumentSourceSection,
    LlamaShapeSection,
    LlmParallelSection,
    LlmRunSection,
    TokenOptimizationSection,
)
from seedcli.training.accelerator import build_accelerator
from seedcli.training.llm_data import DocumentSamples, TokenSamples
from seedcli.training.phase import train_phase
from tests.emoji_texts import train_texts
from tools.nano.conversations import draw_caption, read_structure

NUM_QUERIES = 32
ENDLESS = 1_000_000  # updates; the turns end a training


@dataclass(frozen=True)
class Vocabulary:
    """A text tokenizer that speaks codes, and where they lie."""

    text_tokenizer: PreTrainedTokenizerFast
    codes: CodeVocabulary

    @classmethod
    def of_emoji(cls, *, pieces: int, num_codes: int) -> Vocabulary:
        text_tokenizer = extend_text_tokenizer(
            train_text_tokenizer(train_texts(), pieces), num_codes
        )
        return cls(text_tokenizer, CodeVocabulary.of(text_tokenizer, NUM_QUERIES))

    def build_model(self, shape: LlamaShapeSection) -> LlamaForCausalLM:
        sizes = shape.model_dump(exclude={"text_vocab_size"})
        return build_language_model(self.text_tokenizer, **sizes, seed=0)


class AnyCodes:
    """Codes drawn at random in place of a picture's own: speed does not
    depend on which they are.
    """

    def __init__(self, num_codes: int):
        self._num_codes = num_codes

    def draw(self, rng: random.Random) -> tuple[int, ...]:
        return tuple(rng.randrange(self._num_codes) for _ in range(NUM_QUERIES))


class EmojiCaptions:
    """Rows are emoji of the train split -> codes of a picture and a caption."""

    def __init__(self, vocabulary: Vocabulary):
        self._codes, self._rows = (
            AnyCodes(vocabulary.codes.num_codes),
            read_structure("train").by_emoji,
        )

    def __len__(self) -> int:
        return len(self._rows)

    def read(self, row: int, rng: random.Random) -> Sample:
        picture = rng.choice(self._rows[row])
        return Sample(picture.key, (self._codes.draw(rng), draw_caption(picture, rng)))


class DrawnCaptions:
    """Rows are pictures with captions of one-piece words, whose number follows a normal
    distribution that is cut off at both ends.
    """

    def __init__(
        self,
        vocabulary: Vocabulary,
        *,
        mean: float,
        deviation: float,
        shortest: int,
        longest: int,
        rows: int = 4096,
    ):
        self._codes = AnyCodes(vocabulary.codes.num_codes)
        self._mean, self._deviation, self._shortest, self._longest, self._rows = (
            mean,
            deviation,
            shortest,
            longest,
            rows,
        )
        words = sorted({word for text in train_texts() for word in text.split() if word.isalpha()})
        pieces = vocabulary.text_tokenizer(words, add_special_tokens=False)["input_ids"]
        self._words = [word for word, ids in zip(words, pieces, strict=True) if len(ids) == 1]

    def __len__(self) -> int:
        return self._rows

    def read(self, row: int, rng: random.Random) -> Sample:
        length = round(rng.gauss(self._mean, self._deviation))
        words = rng.choices(self._words, k=min(max(length, self._shortest), self._longest))
        return Sample(str(row), (self._codes.draw(rng), " ".join(words)))


def caption_samples(
    source: EmojiCaptions | DrawnCaptions, vocabulary: Vocabulary, *, context_length: int
) -> TokenSamples:
    """Captions before or after their picture, one half each, everything learned: as published."""
    section = DocumentSourceSection(
        kind="table",
        path="captions",
        form="caption",
        weight=1,
        max_tokens=context_length,
        image_first=0.5,
        mask_first=False,
    )
    documents = DocumentSamples(
        DocumentDataSection(sources=[section]),
        [source],
        template=conversation_template("vicuna"),
        seed=0,
    )
    return TokenSamples(
        documents, vocabulary.text_tokenizer, vocabulary.codes, context_length=context_length
    )


class PaddedCaptions(Dataset):
    """Caption n as a sequence; `collate` pads, to `max_length` or to the longest of the batch."""

    def __init__(self, samples: TokenSamples, *, max_length: int | None):
        self._samples, self._max_length = samples, max_length

    def __len__(self) -> int:
        return ENDLESS

    def __getitem__(self, n: int) -> TokenSequence:
        sequence = self._samples.sample(n)
        assert sequence is not None
        return sequence

    def collate(self, sequences: Sequence[TokenSequence]) -> dict[str, torch.Tensor]:
        length = self._max_length or max(len(sequence.ids) for sequence in sequences)
        rows = {
            "input_ids": [(sequence.ids[:length], PADDING) for sequence in sequences],
            "attention_mask": [
                (np.ones(len(sequence.ids[:length]), np.int32), 0) for sequence in sequences
            ],
            "labels": [(sequence.labels[:length], IGNORED) for sequence in sequences],
        }
        return {
            name: torch.from_numpy(
                np.stack(
                    [
                        np.pad(ids, (0, length - len(ids)), constant_values=fill)
                        for ids, fill in pairs
                    ]
                )
            ).long()
            for name, pairs in rows.items()
        }


class _End(Exception):
    """Ends a training at its turn."""


@dataclass
class Turn:
    """An update: real tokens that it trained on, and what it took."""

    tokens: float
    wall_s: float
    cpu_s: float


@dataclass
class Training:
    """A training in a thread of its own that stops before each update until it is given a turn."""

    name: str
    train: Callable[[Training], None]
    tokens: float = 0.0  # real ones, so far
    turns: list[Turn] = field(default_factory=list)

    def __post_init__(self) -> None:
        self._given, self._back, self._ended = threading.Semaphore(0), threading.Semaphore(0), False
        self._error: BaseException | None = None
        self._thread = threading.Thread(target=self._run, name=self.name)

    def begin(self) -> None:
        """Sets up, up to the first update."""
        self._thread.start()
        self._wait()

    def take_turn(self) -> None:
        """One update, measured."""
        tokens, wall, cpu = self.tokens, time.perf_counter(), time.process_time()
        self._given.release()
        self._wait()
        self.turns.append(
            Turn(self.tokens - tokens, time.perf_counter() - wall, time.process_time() - cpu)
        )

    def end(self) -> None:
        if self._thread.ident is not None:
            self._ended = True
            self._given.release()
            self._thread.join()

    def before_update(self) -> None:
        """Called by the training itself."""
        self._back.release()
        self._given.acquire()
        if self._ended:
            raise _End

    def _wait(self) -> None:
        self._back.acquire()
        if self._error is not None:
            raise self._error

    def _run(self) -> None:
        torch.set_num_threads(1)  # a thread has its own number
        try:
            self.train(self)
        except _End:
            pass
        except BaseException as error:
            self._error = error
        finally:
            self._back.release()


def packed_training(
    samples: TokenSamples,
    model: LlamaForCausalLM,
    optimization: TokenOptimizationSection,
    *,
    vocabulary: Vocabulary,
    context_length: int,
    micro_batch_rows: int,
    folder: Path,
) -> Training:
    """`seed pretrain`'s training."""
    lanes = optimization.batch_tokens // context_length
    packed = functools.partial(PackedStream, samples, context_length=context_length)
    parallel = LlmParallelSection(device="cpu", micro_batch_rows=micro_batch_rows)

    def train(training: Training) -> None:
        def rows(**place):
            assert place["rank"] == 0
            for number, row in enumerate(packed(**place)):
                if number % (lanes // place["world"]) == 0:
                    training.before_update()
                training.tokens += row.counts["real_tokens"]
                yield row

        train_phase(
            "bench",
            lambda device: model,
            rows,
            build_accelerator(parallel),
            is_image_token=vocabulary.codes.is_image_token,
            context_length=context_length,
            seed=0,
            optimization=optimization,
            parallel=parallel,
            run=LlmRunSection(log_every_steps=ENDLESS, checkpoint_every_steps=ENDLESS),
            folder=folder,
        )

    return Training("packed", train)


def padded_training(
    name: str,
    samples: TokenSamples,
    model: LlamaForCausalLM,
    optimization: TokenOptimizationSection,
    *,
    max_length: int | None,
    rows: int,
    folder: Path,
) -> Training:
    """Hugging Face's Trainer on `rows` captions an update, with the same optimizer; `max_length`
    None pads to the longest of the batch.
    """
    captions = PaddedCaptions(samples, max_length=max_length)
    arguments = TrainingArguments(
        output_dir=str(folder),
        max_steps=ENDLESS,
        per_device_train_batch_size=rows,
        learning_rate=optimization.learning_rate,
        lr_scheduler_type="constant",
        weight_decay=optimization.weight_decay,
        max_grad_norm=optimization.gradient_clip,
        optim="adamw_torch_fused",
        logging_strategy="no",
        save_strategy="no",
        report_to="none",
        disable_tqdm=True,
        log_level="error",
        remove_unused_columns=False,
        dataloader_pin_memory=False,
        use_cpu=True,
        include_num_input_tokens_seen="non_padding",
        seed=0,
    )

    class Turns(TrainerCallback):
        def on_step_begin(self, args, state, control, **kwargs):
            # Counted when a batch is fetched, so the count is ahead by the batch that is trained
            # on next, at all times.
            training.tokens = state.num_input_tokens_seen
            training.before_update()

    training = Training(
        name,
        lambda _: Trainer(
            model=model,
            args=arguments,
            train_dataset=captions,
            data_collator=captions.collate,
            callbacks=[Turns()],
        ).train(),
    )
    return training


def take_turns(trainings: Sequence[Training], *, rounds: int, warm_up: int = 1) -> None:
    """Gives every training one update a round, so that what else the machine does
    falls on all of them alike.
    """
    try:
        for training in trainings:
            training.begin()
        for number in range(warm_up + rounds):
            for training in trainings:
                training.take_turn()
                if number < warm_up:
                    training.turns.clear()
    finally:
        for training in trainings:
            training.end()

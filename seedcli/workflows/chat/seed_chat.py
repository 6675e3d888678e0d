"""`SeedChat`: a conversation with a language model that answers in this process; and prompts by the
hundred, of which nothing is remembered.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from seedcli.console import LibraryReporter, Reporter
from seedcli.data.documents.conversations import strip_segments
from seedcli.data.documents.documents import Codes, Message, Segment
from seedcli.data.images.images import ImageSource
from seedcli.errors import UsageError
from seedcli.models.language.answer import Answer, Part
from seedcli.models.language.generate import SamplingSettings
from seedcli.models.language.load import Quantization
from seedcli.progress import OnProgress
from seedcli.workflows.chat.conversation import Conversation, Tell
from seedcli.workflows.chat.model import ChatModel
from seedcli.workflows.chat.pictures import Drawing
from seedcli.workflows.chat.settings import ChatSettings, PictureSettings
from seedcli.workflows.chat.turns import Turn, images_of
from seedcli.workflows.pictures import SeedTokenizer
from seedcli.workflows.sampling import SamplingOptions

GENERATE_BATCH_SIZE = 32  # prompts answered together


class SeedChat(Conversation):
    """A language model that reads and draws images, and what was said to it.

    ```python
    chat = SeedChat.from_pretrained("seed-nano")
    answer = chat.say("What is this?", images=["cat.png"])
    print(answer.text)
    ```

    Attributes:
        model: The language model with its visual tokenizer; several conversations may share one.
        messages: All that was said, images as codes: what is said once is never tokenised again.
        sampling: How tokens are chosen; the seed of answer n is `seed + n`.
    """

    model: ChatModel

    def __init__(self, model: ChatModel, *, reporter: Reporter | None = None):
        """A conversation in which nothing was said; users call `from_pretrained`.

        Args:
            model: Answers; other conversations may share it, but not speak at once.
            reporter: Hears what one should know.
        """
        super().__init__(model, reporter=reporter)

    @classmethod
    def from_pretrained(
        cls,
        model: str | Path = "seed-nano",
        *,
        tokenizer: str | Path | None = None,
        device: str = "auto",
        dtype: str = "auto",
        quantize: Quantization | None = None,
        offload: bool = False,
        picture_steps: int | None = None,
        picture_guidance: float | None = None,
        words_first: bool | None = None,
        progress: bool | OnProgress = False,
        **sampling: Any,
    ) -> SeedChat:
        """Loads a language model; its visual tokenizer and picture decoder follow when the first
        picture comes.

        Args:
            model: Preset (`seed-nano`, bundled; `seed-llama-8b-sft`), folder or hub id.
            tokenizer: Visual tokenizer in place of the one that the language model names.
            device: `auto` (a GPU where there is one), `cpu`, `cuda`, `cuda:1`, `mps`.
            dtype: Of the language model's weights; `auto` is float32 on a CPU, bfloat16 on a GPU.
            quantize: `8bit` or `4bit` for its linear layers, by bitsandbytes on an NVIDIA GPU.
            offload: Keep tokenizer and picture decoder in the host's memory, and on the GPU only
                while they work.
            picture_steps: Denoising steps of a picture; None takes the model's.
            picture_guidance: How closely pictures follow their codes; None takes the model's.
            words_first: Whether an answer that must hold a picture may begin with words; None takes
                what suits the model.
            progress: As for `SeedTokenizer.from_pretrained`.
            **sampling: `temperature`, `top_p`, `num_beams`, `max_new_tokens`, `seed`,
                `code_guidance`, as `SamplingSettings` tells them; those left out are the model's.

        Raises:
            UsageError: No such model, device or setting, or a model that was taught no
                conversations.
            DataError: Files are missing, damaged, or do not fit together.
        """
        unknown = set(sampling) - {each.name for each in dataclasses.fields(SamplingSettings)}
        if unknown:
            raise TypeError(f"from_pretrained() got an unexpected argument {min(unknown)!r}")
        settings = ChatSettings(
            model=str(model),
            tokenizer=None if tokenizer is None else str(tokenizer),
            sampling=SamplingOptions(**sampling),
            pictures=PictureSettings(
                steps=picture_steps, guidance=picture_guidance, offload=offload
            ),
            words_first=words_first,
            device=device,  # type: ignore[arg-type]  # `cuda:1` too
            dtype=dtype,  # type: ignore[arg-type]
            quantize=quantize,
        )
        reporter = LibraryReporter(progress)
        return cls(ChatModel(settings, reporter=reporter).load(), reporter=reporter)

    @property
    def tokenizer(self) -> SeedTokenizer:
        """The visual tokenizer, which reads and draws the pictures."""
        return self.model.tokenizer

    def _write(self, before: Sequence[Message], asked: Message, draw: bool, tell: Tell) -> Turn:
        prompt = self._prompt(before, asked)
        drawings: list[Drawing] = []

        def hear(part: Part) -> None:
            if isinstance(part, str):
                tell(part)
                return
            seed = self.sampling.seed + self._drawn + len(drawings)
            [drawing] = self.model.draw([part], [seed])
            drawings.append(drawing)
            tell(drawing)

        streams = self.sampling.num_beams == 1
        [answer] = self.model.write(
            [prompt],
            [self.next_seed],
            draw,
            sampling=self.sampling,
            wordless=self._wordless([[*before[self._forgotten :], asked]]),
            on_part=hear if streams else None,
        )
        for part in () if streams else answer.segments:
            hear(part)
        return _turn(answer, iter(drawings))

    def _prompt(self, before: Sequence[Message], asked: Message) -> list[int]:
        """Ids of the conversation with a new turn; the oldest turns go where the context has no
        room for them and half an answer's.
        """
        limit = self.model.llm.max_positions
        reserve = min(self.sampling.max_new_tokens, limit // 2)
        while True:
            messages = [*before[self._forgotten :], asked]
            ids = self.model.encode(messages)
            if len(ids) + reserve <= limit or len(messages) == 1:
                return ids
            self._forgotten += 2
            self._reporter.note(
                f"the context of {limit} tokens is full: turn {self._forgotten // 2} is forgotten"
            )

    def _wordless(self, asked: Sequence[Sequence[Message]]) -> list[list[int]] | None:
        """Conversations -> what code guidance moves away from; None without it."""
        guided = self.sampling.code_guidance > 1
        return [self.model.encode_wordless(each) for each in asked] if guided else None

    def generate(
        self,
        prompts: Sequence[str | Sequence[str | ImageSource | Codes]],
        *,
        seeds: Sequence[int] | None = None,
        draw: bool = False,
        batch_size: int = GENERATE_BATCH_SIZE,
    ) -> list[Turn]:
        """Many prompts at once -> an answer to each, as if it were the first of a conversation;
        nothing of it is remembered. An answer depends on its own prompt and seed alone.

        Args:
            prompts: Words, or words and images in their order: anything that
                `SeedTokenizer.encode` takes but a path as `str` (that is words; say `Path`), or
                tuples of codes.
            seeds: Of each answer and its first image; None: `sampling.seed`, counting up.
            draw: Answers must hold an image.
            batch_size: Prompts answered together.

        Raises:
            SeedError: As `say`.
        """
        first = self.sampling.seed
        seeds = list(seeds or range(first, first + len(prompts)))
        if len(seeds) != len(prompts):
            raise UsageError(f"{len(seeds)} seeds for {len(prompts)} prompts")
        asked: list[list[Message]] = []
        for prompt in prompts:
            parts = [prompt] if isinstance(prompt, str) else list(prompt)
            read: list[Segment] = []
            for part in parts:
                read += [part] if isinstance(part, str) else self.model.read_all(part)
            if not (segments := strip_segments(read)):
                raise UsageError("nothing is said: neither words nor an image")
            asked.append([Message("user", segments)])
        rows, wordless = [*map(self.model.encode, asked)], self._wordless(asked)
        answers: list[Answer] = []
        with self._reporter.progress("answer", len(rows)) as progress:
            for start in range(0, len(rows), batch_size):
                part = slice(start, start + batch_size)
                answers += self.model.write(
                    rows[part],
                    seeds[part],
                    draw,
                    sampling=self.sampling,
                    wordless=wordless and wordless[part],
                )
                progress.advance(len(rows[part]))
        return self._drawn_together(answers, seeds)

    def _drawn_together(self, answers: Sequence[Answer], seeds: Sequence[int]) -> list[Turn]:
        """Answers and the seed of each -> turns, their images drawn in batches."""
        found = [
            (part, seed + number)
            for answer, seed in zip(answers, seeds, strict=True)
            for number, part in enumerate(images_of(answer.segments))
        ]
        drawn = iter(self.model.draw([codes for codes, _ in found], [seed for _, seed in found]))
        return [_turn(answer, drawn) for answer in answers]


def _turn(answer: Answer, drawn: Iterator[Drawing]) -> Turn:
    """An answer, and its images as they were drawn -> a turn."""
    segments = tuple(
        part if isinstance(part, str) else next(drawn) for part in strip_segments(answer.segments)
    )
    return Turn(segments=segments, ended=answer.ended, malformed=answer.malformed)

"""The language model of seed-nano with its eyes and its brush, asked in batches, and how answers
are counted.
"""

from __future__ import annotations

from collections.abc import Sequence

from PIL import Image

from seedcli.data.documents.conversations import ConversationTemplate, conversation_template
from seedcli.data.documents.documents import Codes, Message
from seedcli.data.documents.sequences import encode_prompt
from seedcli.data.emoji import EmojiPicture
from seedcli.models.language.answer import Answer
from seedcli.models.language.generate import SamplingSettings, SeedLlama
from seedcli.models.language.load import load_language_model
from seedcli.models.weights.locate_llm import locate_llm
from seedcli.workflows.pictures import SeedTokenizer

_BATCH = 32


def first_image(segments: Sequence) -> Codes | None:
    """Segments of an answer -> codes of its first image, or None."""
    return next((segment for segment in segments if not isinstance(segment, str)), None)


class Asker:
    """The language model with its eyes and its brush, asked in batches."""

    def __init__(self, model: str, tokenizer: str, *, settings: SamplingSettings, seed: int):
        self.llm: SeedLlama = load_language_model(locate_llm(model), device="cpu")
        self.visual = SeedTokenizer.from_pretrained(tokenizer, device="cpu")
        self.template: ConversationTemplate = conversation_template(
            self.llm.facts.template, self.llm.text_tokenizer
        )
        self.settings, self.seed = settings, seed
        self._codes: dict[str, Codes] = {}
        # what came, and whether a picture had to
        self.answers: list[tuple[Answer, bool]] = []

    def codes(self, picture: EmojiPicture) -> Codes:
        if picture.key not in self._codes:
            self._codes[picture.key] = tuple(self.visual.encode(picture.image)[0].tolist())
        return self._codes[picture.key]

    def ask(
        self, conversations: Sequence[Sequence[Message]], *, image: str = "allowed"
    ) -> list[tuple]:
        """Conversations -> segments of each answer."""
        prompts = [
            encode_prompt(
                self.template.prompt(messages), self.llm.text_tokenizer, self.llm.vocabulary
            )
            for messages in conversations
        ]
        found: list[tuple] = []
        for start in range(0, len(prompts), _BATCH):
            part = prompts[start : start + _BATCH]
            seeds = [self.seed + start + place for place in range(len(part))]
            answers = self.llm.generate(part, self.settings, image=image, seeds=seeds)
            self.answers += [(answer, image == "required") for answer in answers]
            found += [answer.segments for answer in answers]
        return found

    def paint(self, codes: Sequence[Codes]) -> list[Image.Image]:
        """Codes -> pictures, with the preset's steps and guidance."""
        return self.visual.decode(codes, seed=self.seed, batch_size=_BATCH)


def count_answers(answers: Sequence[tuple[Answer, bool]]) -> dict[str, float]:
    """Answers, and whether a picture had to come -> percent of them whose pictures are all whole,
    one at least where one had to come, and percent that the model ended itself. Whether an answer
    ends says nothing of its pictures.
    """
    valid = [
        answer.malformed == 0 and (not required or first_image(answer.segments) is not None)
        for answer, required in answers
    ]
    return {
        "valid_answers": round(100 * sum(valid) / len(answers), 2),
        "ended_answers": round(100 * sum(answer.ended for answer, _ in answers) / len(answers), 2),
        "num_answers": len(answers),
    }

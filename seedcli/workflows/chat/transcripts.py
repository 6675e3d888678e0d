"""A conversation as a line of a file: what `/save` writes and `/load` goes on with, and
`seed tokens build messages` reads.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from seedcli.data.documents.conversations import check_conversation
from seedcli.data.documents.documents import Codes, Message
from seedcli.errors import DataError, UsageError
from seedcli.files import json_text, publish_text
from seedcli.models.weights.llm_description import LlmFacts
from seedcli.workflows.chat.model import codes_of
from seedcli.workflows.chat.turns import IMAGE_MARK, images_of, interleave


def save_transcript(path: Path, key: str, messages: Sequence[Message], facts: LlmFacts) -> None:
    """Adds a conversation to a file; one of the same key is replaced.

    Args:
        path: The file, of JSON lines.
        key: Of the conversation.
        messages: What was said.
        facts: Of the language model that answered.

    Raises:
        DataError: The file is no such file, or cannot be written.
    """
    row = {
        "key": key,
        "messages": [
            {
                "role": message.role,
                "content": "".join(
                    part if isinstance(part, str) else IMAGE_MARK for part in message.segments
                ),
            }
            for message in messages
        ],
        "images": [list(codes) for message in messages for codes in images_of(message.segments)],
        "model": facts.name,
        "fingerprint": facts.visual_fingerprint,
    }
    try:
        lines = path.read_text(encoding="utf-8").splitlines() if path.exists() else []
        kept = [line for line in lines if json.loads(line).get("key") != key]
        publish_text(path, "\n".join([*kept, json_text(row)]) + "\n")
    except (ValueError, AttributeError) as error:
        raise DataError(
            f"{path} exists and is no file of JSON lines ({error})", remedy="/save another file"
        ) from None
    except OSError as error:
        raise DataError(
            f"{path} cannot be written ({error.strerror})", remedy="/save another file"
        ) from None


def load_transcript(path: Path, facts: LlmFacts) -> tuple[list[Message], str | None]:
    """The last conversation of a file -> its messages and its key.

    Raises:
        DataError: The file cannot be read, holds no conversation, or its codes are of another
            visual tokenizer than the language model's.
    """
    try:
        rows = [line for line in path.read_text(encoding="utf-8").splitlines() if line.strip()]
        row = json.loads(rows[-1])
        images = [codes_of(facts, codes, str(path)) for codes in row["images"]]
        waiting = iter(images)
        messages = [_message(each, waiting) for each in row["messages"]]
        check_conversation(messages)
    except OSError as error:
        raise DataError(f"{path} cannot be read ({error.strerror})") from None
    except (ValueError, LookupError, TypeError, AttributeError, UsageError) as error:
        raise DataError(
            f"{path} ends with no conversation ({type(error).__name__}: {error})",
            remedy="/load a file that /save wrote",
        ) from None
    if images and row.get("fingerprint") not in (None, facts.visual_fingerprint):
        raise DataError(
            f"{path}: these codes were made by {row.get('fingerprint')}, not by "
            f"{facts.visual_tokenizer} ({facts.visual_fingerprint})",
            remedy=f"seed chat --model {row.get('model', 'MODEL')}, and /load it there",
        )
    return messages, row.get("key")


def _message(row: dict[str, Any], images: Iterator[Codes]) -> Message:
    """A message as it is saved -> a message; takes its images from those that follow."""
    content = row["content"]
    here = [[codes] for _, codes in zip(range(content.count(IMAGE_MARK)), images, strict=False)]
    return Message(row["role"], interleave(content, here))

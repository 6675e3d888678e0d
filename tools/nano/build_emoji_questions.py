"""Builds the bundled questions about emoji, `seedcli/bundled/emoji/questions.json`: python -m
tools.nano.build_emoji_questions.

Nothing is random but for a fixed generator: the same set and wording give the same file. What it
holds: `seedcli.data.emoji_questions`.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

from seedcli.data.emoji_questions import QUESTIONS_FILE, build_questions


def write_questions(path: Path) -> dict[str, dict[str, int]]:
    """Writes the file -> number of questions by split and kind."""
    content = build_questions()
    path.write_text(
        json.dumps(content, indent=0, ensure_ascii=False, separators=(",", ":")) + "\n",
        encoding="utf-8",
    )
    return {
        split: {kind: sum(map(len, answers.values())) for kind, answers in kinds.items()}
        for split, kinds in content["splits"].items()
    }


if __name__ == "__main__":
    json.dump(
        write_questions(Path(sys.argv[1]) if len(sys.argv) > 1 else QUESTIONS_FILE),
        sys.stdout,
        indent=1,
    )

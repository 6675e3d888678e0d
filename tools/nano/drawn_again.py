"""Whether `drawn_best.json` names drawings that come out better than those of `told_best.json`.

    python -m tools.nano.drawn_again [--tokenizer MODEL]

Of each thing for which the two differ, both drawings go through codes and back with five seeds
that neither file was made with. Prints, as JSON, how many of these pictures are nearest, by the
judge, to a drawing of the thing.
"""

from __future__ import annotations

import argparse
import json
import sys

from seedcli.data.emoji import read_emoji
from seedcli.models.weights.locate import BUNDLED_NANO
from seedcli.workflows.pictures import SeedTokenizer
from tools.nano.examples import NearestDrawing
from tools.nano.told_best import read_best

SEEDS = range(10, 15)


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--tokenizer", default="seed-nano")
    tokenizer = SeedTokenizer.from_pretrained(parser.parse_args().tokenizer, device="cpu")
    nearest = NearestDrawing(str(BUNDLED_NANO / "judge"))
    told, drawn = read_best("told_best"), read_best("drawn_best")
    pictures = [one for one in read_emoji("train") if not one.skin_tones]
    pictures = [one for one in pictures if told[one.hexcode] != drawn[one.hexcode]]
    found = {"things": len({one.hexcode for one in pictures}), "seeds": len(SEEDS)}
    for name, best in (("told_best", told), ("drawn_best", drawn)):
        chosen = [one for one in pictures if one.vendor == best[one.hexcode]]
        codes = tokenizer.encode([one.image for one in chosen])
        found[name] = sum(
            nearest(image).base_hexcode == one.base_hexcode
            for seed in SEEDS
            for one, image in zip(
                chosen, tokenizer.decode(codes, seed=[seed] * len(chosen)), strict=True
            )
        )
    json.dump(found, sys.stdout)


if __name__ == "__main__":
    main()

"""Tables for seed-nano's language model: rows are emoji, views are of what is read alone, and a
source of training documents reads them.
"""

import random
from collections import Counter, defaultdict

import pyarrow.parquet as pq
import pytest
import torch

from seedcli.data.documents.documents import Sample
from seedcli.data.emoji import read_emoji
from seedcli.data.mixtures.documents import open_source
from seedcli.recipe.language import DocumentSourceSection
from tools.nano.conversations import (
    EmojiSpeaker,
    read_prompts,
    read_structure,
)
from tools.nano.documents import SCHEMAS, write_documents
from tools.nano.manners import EVERYDAY, STYLES, VARIED
from tools.nano.structure import EmojiStructure, short_names
from tools.nano.told_best import (
    BEST_KNOWN,
    best_of,
    candidates,
    drawn_scores,
    read_best,
    standard,
    told_scores,
    with_skin_tones,
)

DRAWS = 3


@pytest.fixture(scope="module")
def structure():
    """Every ninth emoji, drawings of all sets and skin tones; and what makes an astronaut."""
    emoji = defaultdict(list)
    for picture in read_emoji("train"):
        emoji[picture.base_hexcode].append(picture)
    astronauts = [emoji[hexcode] for hexcode in ("1f468", "1f680", "1f468-200d-1f680")]
    chosen = [picture for row in [*list(emoji.values())[::9], *astronauts] for picture in row]
    return EmojiStructure(chosen, read_prompts()["styles"])


@pytest.fixture(scope="module")
def tables(structure, tmp_path_factory):
    folder = tmp_path_factory.mktemp("documents")
    write_documents(folder, structure, draws=DRAWS)
    return folder


def rows_of(tables, name):
    return pq.read_table(tables / f"{name}.parquet").to_pylist()


def test_rows_are_emoji_and_those_with_variants_come_oftener(structure, tables):
    emoji = structure.by_emoji
    variants = sum(len({one.skin_tones for one in row}) > 1 for row in emoji)
    assert variants > 5
    for name in SCHEMAS:
        wanted = len(emoji) + (0 if name in ("read", "drawn") else 2 * variants)
        found = len(rows_of(tables, name))
        # repeated, and fewer of people, flags and symbols
        manners = {"conversations": VARIED, "everyday": EVERYDAY, "styles": STYLES}
        repeats = manners[name].repeats if name in manners else None
        if repeats:
            assert DRAWS * repeats / 2 * wanted < found < DRAWS * repeats * wanted
        else:
            assert found == DRAWS * wanted


def test_things_are_talked_of_more_than_flags(structure, tables):
    groups = {picture.key: picture.group for picture in structure.pictures}
    found = Counter(groups[row["key"]] for row in rows_of(tables, "conversations"))
    emoji = Counter(row[0].group for row in structure.by_emoji)
    flags, things = ((found[name] / emoji[name]) for name in ("flags", "objects"))
    assert flags < 0.7 * things


def test_only_what_is_read_is_a_view(structure, tables):
    own = {picture.key: picture.image for picture in structure.pictures}
    assert all(row["image"] == own[row["key"]] for row in rows_of(tables, "drawn"))
    themselves = [row["image"] == own[row["key"]] for row in rows_of(tables, "read")]
    # one in eight of 500: five deviations of a fair draw are 0.07
    assert sum(themselves) / len(themselves) == pytest.approx(0.125, abs=0.07)
    own_bytes = set(own.values())
    for row in rows_of(tables, "conversations"):
        shown = iter(row["images"])
        for message in row["messages"]:
            for part in message["content"]:
                if part["type"] == "image":
                    image = next(shown)
                    assert message["role"] == "user" or image in own_bytes
        assert next(shown, None) is None


def test_every_task_is_there(tables):
    tasks = Counter(row["task"] for row in rows_of(tables, "conversations"))
    assert set(tasks) | {"join"} == set(VARIED.task_weights)  # which few pictures allow
    assert tasks.most_common(1)[0][0] in ("edit", "describe", "draw")


def test_things_are_also_asked_for_by_one_word():
    short = short_names(read_structure("train"))
    assert short["1f34e"] == short["1f34f"] == "apple" and short["1f499"] == "heart"
    # a black cat is not asked for as a cat, which is another emoji; a head is the last plain word
    assert not short.keys() & {"1f408-200d-2b1b", "1f3e1", "1f470-200d-2640-fe0f"}


@pytest.mark.parametrize(("manner", "bare"), [(EVERYDAY, 0.55), (STYLES, 0.35)])
def test_without_a_style_one_drawing_answers(manner, bare):
    structure = read_structure("train")
    speaker, rng = EmojiSpeaker(structure, manner), random.Random(0)
    styles, best = read_prompts()["styles"], read_best(manner.one_drawing)
    assert {one.hexcode for one in structure.pictures} == set(best)
    for hexcode in ("1f34c", "1fa77", "1f3e0"):
        drawings = [one for one in structure.pictures if one.hexcode == hexcode]
        answers, styled = [], 0
        for _ in range(60):
            picture = rng.choice(drawings)
            (_, (asked,)), (_, answer) = speaker._draw(picture, rng)
            answers.append(len(answer))
            if any(name in asked for name in styles.values()):
                styled += 1
                assert answer[-1] == picture
            else:
                assert answer[-1].vendor == best[hexcode], asked
        # five deviations of a fair draw of 60 are 0.32
        assert answers.count(1) / len(answers) == pytest.approx(bare, abs=0.32)
        assert styled / len(answers) == pytest.approx(manner.styled, abs=0.32)


def test_changes_of_style_are_drawn_as_often_as_the_manner_says(structure):
    shares = {}
    for manner in (VARIED, STYLES):
        speaker, rng = EmojiSpeaker(structure, manner), random.Random(0)
        speaker._draw_change = lambda one, rng: next(
            (change for change in structure.changes(one) if change.kind == "style"), None
        )
        made = [speaker._edit(rng.choice(structure.pictures), rng) for _ in range(300)]
        shares[manner.restyled] = sum(one is not None for one in made) / len(made)
    # five deviations of a fair draw of 300 are 0.14; a few pictures have no other style
    assert shares[0.4] == pytest.approx(0.4, abs=0.15) and shares[1.0] > 0.85


def test_what_is_drawn_is_named_where_a_word_is_said(structure):
    speaker, rng = EmojiSpeaker(structure, STYLES), random.Random(0)
    for task in ("series", "draw", "edit", "join"):
        replies = read_prompts()[task]["reply"]
        picture = structure.pictures[0]
        said = [speaker._reply(replies, picture, rng)[1][:-1] for _ in range(100)]
        worded = [words[0] for words in said if words]
        # five deviations of a fair draw of 100 are 0.25
        assert len(worded) / len(said) == pytest.approx(0.65, abs=0.25)
        assert sum(picture.name in words for words in worded) > len(worded) / 2, task


def test_dialogues_go_on_from_change_to_change(structure):
    speaker, rng = EmojiSpeaker(structure, STYLES), random.Random(0)
    dialogues = [speaker._dialogue(rng.choice(structure.pictures), rng) for _ in range(200)]
    answers = [[said[-1] for role, said in one if role == "assistant"] for one in dialogues]
    drawn = [sum(not isinstance(last, str) for last in one) for one in answers]
    # most pictures allow a change, and three of five dialogues go on: a quarter is few
    assert max(drawn) > 2 and sum(count > 1 for count in drawn) > 50
    assert {len(one) for one in answers} == {2, 3, 4}
    changed_first = [one for one in dialogues if not isinstance(one[0][1][0], str)]
    assert any(not isinstance(one[1][1][-1], str) for one in changed_first)


def test_of_the_drawings_the_one_that_codes_tell_best_is_drawn():
    pictures = [one for one in read_emoji("train") if one.hexcode == "1f3e0"]
    assert {one.vendor for one in candidates(pictures)} == {*BEST_KNOWN}
    odd = [one for one in pictures if one.vendor not in BEST_KNOWN]
    assert candidates(odd) == odd
    embeddings = torch.eye(len(pictures))
    told = embeddings.roll(1, 0)  # each is told as another
    told[3] = embeddings[3]
    assert best_of(pictures, told_scores(embeddings, told)) == {"1f3e0": pictures[3].vendor}


def test_a_drawing_that_looks_like_another_thing_is_not_best():
    every = {(one.hexcode, one.vendor): one for one in read_emoji("train")}
    wanted = [("1f3e0", "google"), ("1f3e0", "twitter"), ("1f431", "google")]
    house, other, cat = (every[one] for one in wanted)
    pictures, features = [house, other, cat], torch.eye(3)
    # one looks like a cat too, the other like its own kind alone
    seen = torch.stack([features[0] + 0.9 * features[2], 0.8 * features[1], features[2]])
    scores = drawn_scores(pictures, features, dict(enumerate(seen)))
    assert scores.tolist() == pytest.approx([0.1, 0.8, 1.0])
    assert best_of(pictures, standard(scores))["1f3e0"] == other.vendor


def test_with_a_skin_tone_the_set_stays():
    waves = [one for one in read_emoji("train") if one.base_hexcode == "1f44b"]
    tones = {one.hexcode: "google" for one in waves}
    twitter = [one.hexcode for one in waves if one.vendor == "twitter"]
    best = with_skin_tones(waves, {"1f44b": "twitter"}, tones)
    assert best == tones | dict.fromkeys(twitter, "twitter") and len(twitter) > 2
    assert with_skin_tones(waves, {}, tones) == tones


def test_a_word_for_many_things_means_the_typical_one():
    structure = read_structure("train")
    speaker, rng = EmojiSpeaker(structure, EVERYDAY), random.Random(0)
    names = {one.name for one in structure.pictures}
    typical = read_prompts()["draw"]["typical"]
    assert set(typical.values()) <= names
    assert set(typical) <= set(short_names(structure).values())
    rice_ball = next(one for one in structure.pictures if one.hexcode == "1f359")
    answers = {
        turns[1][1][-1].name
        for turns in (speaker._draw(rice_ball, rng) for _ in range(200))
        if turns[0][1][0] == "Draw a ball."
    }
    assert answers == {"soccer ball"}


def test_everyday_pictures_are_read_as_they_are_in_half_of_the_cases(structure, tables):
    own = {picture.image for picture in structure.pictures}
    read = [
        image in own
        for row in rows_of(tables, "everyday")
        if row["task"] == "describe"
        for image in row["images"]
    ]
    # five deviations of a fair draw of 300 are 0.14
    assert sum(read) / len(read) == pytest.approx(0.5, abs=0.14)


def test_a_man_and_a_rocket_make_an_astronaut(structure):
    speaker, rng = EmojiSpeaker(structure), random.Random(0)
    joined = [
        turns
        for picture in structure.pictures
        if picture.hexcode == "1f468-200d-1f680"
        and (turns := speaker._join(picture, rng)) is not None
    ]
    assert len({turns[1][1][-1].vendor for turns in joined}) > 2
    for (_, asked), (_, answer) in joined:
        shown = [one for one in asked if not isinstance(one, str)]
        assert [one.name for one in shown] == ["man", "rocket"]
        assert answer[-1].name == "man astronaut"
        assert {one.vendor for one in shown} == {answer[-1].vendor}
    man = next(one for one in structure.pictures if one.hexcode == "1f468")
    assert speaker._join(man, rng) is None


def test_two_builds_are_equal(structure, tables, tmp_path):
    write_documents(tmp_path, structure, draws=DRAWS)
    for name in SCHEMAS:
        made, again = (folder / f"{name}.parquet" for folder in (tables, tmp_path))
        assert made.read_bytes() == again.read_bytes()


@pytest.mark.parametrize(
    ("name", "form"),
    [
        ("read", {"form": "caption", "image_first": 1.0, "mask_first": False}),
        ("texts", {"form": "text"}),
        ("text-conversations", {"form": "messages"}),
        ("conversations", {"form": "messages"}),
    ],
)
def test_a_source_reads_them(tables, tmp_path, name, form):
    path = str(tables / f"{name}.parquet")
    section = DocumentSourceSection(kind="table", path=path, weight=1, max_tokens=256, **form)
    lengths = {}

    def codes_of(pictures):
        return [(lengths.setdefault(one, len(lengths)) % 64,) * 4 for one in pictures]

    words_only = name.startswith("text")
    source = open_source(
        section,
        codes_of=None if words_only else codes_of,
        num_queries=0 if words_only else 4,
        num_codes=0 if words_only else 64,
        fingerprint="",
        cache=tmp_path,
    )
    stored = rows_of(tables, name)
    for number in range(0, len(source), 17):
        found: Sample = source.read(number, random.Random(0))
        said = [segment for message in found.messages for segment in message.segments]
        said += found.segments
        pictures = stored[number].get("images") or [stored[number].get("image")]
        assert found.key == stored[number]["key"]
        wanted = [codes_of([one])[0] for one in pictures if one]
        assert [one for one in said if not isinstance(one, str)] == wanted
        assert any(isinstance(one, str) and one for one in said)
        if name == "conversations":
            assert found.meta == {"task": stored[number]["task"]}
            assert [message.role for message in found.messages[:2]] == ["user", "assistant"]

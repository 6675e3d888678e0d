"""Caption sets seen from their pictures."""

import json

from PIL import Image

from seedcli.benchmarks.caption_sets import captions_by_picture, emoji_captions
from seedcli.benchmarks.retrieval_sets import load_retrieval_set
from seedcli.data.emoji import read_emoji


def test_emoji_are_all_vendors_without_skin_tones():
    found = emoji_captions("unseen")
    pictures = {one.key: one for one in read_emoji("unseen") if not one.skin_tones}
    assert set(found.pictures) == set(pictures) and found.published_split is None
    for key, sample in found.pictures.items():
        assert sample.references == tuple(dict.fromkeys(pictures[key].captions()))
        assert (sample.group, sample.label) == (pictures[key].base_hexcode, pictures[key].label)
    assert set(found.subsets) == {"no_flags", "vendor_fluent", "vendor_google", "vendor_twitter"}
    first = [pictures[key].group for key in list(found.pictures)[:40]]
    assert len(set(first)) > 4  # not the order of the set, which goes group by group


def test_a_file(tmp_path):
    for name in ("a", "b", "c"):
        Image.new("RGB", (8, 8), "red").save(tmp_path / f"{name}.png")
    images = [
        {"filename": f"{name}.png", "split": "test", "sentences": [{"raw": text} for text in texts]}
        for name, texts in (("a", ["one", "two"]), ("b", []), ("c", ["three"]))
    ]
    (tmp_path / "mine.json").write_text(json.dumps({"images": images}))
    found = captions_by_picture(load_retrieval_set(str(tmp_path / "mine.json")))
    assert [(key, one.references) for key, one in found.pictures.items()] == [
        ("000000", ("one", "two")),
        ("000002", ("three",)),
    ]
    before = found.digest
    images[2]["sentences"] = [{"raw": "four"}]
    (tmp_path / "mine.json").write_text(json.dumps({"images": images}))
    assert captions_by_picture(load_retrieval_set(str(tmp_path / "mine.json"))).digest != before

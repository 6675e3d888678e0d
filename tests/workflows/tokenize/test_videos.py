"""`seed tokenize` of videos, with a tiny model: one record each, whatever it stands beside; drawn
again frame by frame.
"""

from __future__ import annotations

import io
import json
import tarfile
from pathlib import Path

import pytest

from seedcli.data.documents.rows import sample_of_row
from seedcli.data.tokens.shards import open_shards
from seedcli.models.language.vocab import parse_spans
from seedcli.workflows.detokenize.request import DetokenizeRequest
from seedcli.workflows.detokenize.run import plan as plan_drawing
from seedcli.workflows.pictures import SeedTokenizer
from seedcli.workflows.tokenize.request import TokenizeRequest
from seedcli.workflows.tokenize.run import plan, run, stream
from tests.engine.pictures import write_pictures
from tests.videos import write_video


@pytest.fixture
def clips(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    folder = tmp_path / "clips"
    write_pictures(folder, 3)  # 00.png to 02.png
    write_video(folder / "a.mp4", 30)
    (folder / "a.txt").write_text("it gets light")
    write_video(folder / "b.mkv", 12)
    (folder / "c.mp4").write_bytes(b"")
    return folder


@pytest.fixture
def ask(tiny_tokenizer_folder):
    def build(*inputs: str, **options) -> TokenizeRequest:
        defaults = {"model": str(tiny_tokenizer_folder), "batch_size": 5, "workers": 0}
        return TokenizeRequest(inputs=inputs, **defaults | options)

    return build


def records(request: TokenizeRequest) -> list[dict]:
    with stream(request) as codes:
        return [codes.record(one) for one in codes.outcomes if one.reason is None]


def test_a_video_is_one_record_of_frames(clips, ask, tiny_tokenizer_folder):
    [record] = records(ask("clips/a.mp4"))
    assert list(record)[:2] == ["source", "frames"] and "codes" not in record
    assert [frame["time_s"] for frame in record["frames"]] == [0.3, 1.1, 1.8, 2.6]
    codes = [frame["codes"] for frame in record["frames"]]
    tokenizer = SeedTokenizer.from_pretrained(tiny_tokenizer_folder)
    assert tokenizer.encode("clips/a.mp4").tolist() == codes
    assert tokenizer.encode(["clips/a.mp4", "clips/00.png"], frames=2).shape[0] == 3
    # what training makes of the line
    read = sample_of_row(record | {"text": "light"}, "key", num_queries=tokenizer.num_queries)
    assert read.segments == (*map(tuple, codes), "light")
    [record] = records(ask("clips/a.mp4", frames=8, batch_size=3))  # three passes
    assert len(record["frames"]) == 8
    with stream(ask("clips/a.mp4")) as found:
        [outcome] = found.outcomes
        spans = parse_spans(found.token_text(outcome), tokenizer.num_queries)
        assert [list(span) for span in spans] == codes


def test_frames_of_a_video_share_a_pass_and_a_failed_one_costs_itself(clips, ask):
    with stream(ask("clips")) as codes:
        outcomes = list(codes.outcomes)
    assert [(one.key, one.reason) for one in outcomes] == [
        ("clips/00.png", None),
        ("clips/01.png", None),
        ("clips/02.png", None),
        ("clips/a.mp4", None),
        ("clips/b.mkv", None),
        ("clips/c.mp4", "is empty (0 bytes)"),
    ]
    assert outcomes[3].text == "it gets light"
    assert len(records(ask("clips", limit=4))) == 4


def test_shards_hold_documents_and_do_not_depend_on_interruptions(clips, ask):
    summary = run(ask("clips", output=Path("one")))
    assert (summary.images, summary.failed) == (5, 1)
    shards = open_shards(["one"])
    assert shards.header.content == "segments"
    rows = {row.key: row for row in shards}
    shown = records(ask("clips"))
    for record in shown:
        row = rows.pop(record["key"] if "key" in record else record["source"])
        pictures = [frame["codes"] for frame in record.get("frames", [record])]
        assert [list(codes) for codes in row.codes()] == pictures
        assert row.words() == record.get("text", "")
    assert not rows
    [film] = [row for row in shards if row.key == "clips/a.mp4"]
    assert json.loads(film.meta) == {"time_s": [0.3, 1.1, 1.8, 2.6]}
    assert run(ask("clips", output=Path("two.parquet"))).images == 5
    again = list(open_shards(["two.parquet"]))
    assert [(row.key, row.segments) for row in again] == [(row.key, row.segments) for row in shards]


def test_a_run_that_was_stopped_goes_on_with_the_next_video(clips, ask, monkeypatch):
    from seedcli.workflows.tokenize import encoder

    run(ask("clips", output=Path("whole")))
    passes = encoder.in_passes

    def only_two(items, slots):
        for number, chunk in enumerate(passes(items, slots)):
            if number == 2:
                raise KeyboardInterrupt
            yield chunk

    monkeypatch.setattr(encoder, "in_passes", only_two)
    with pytest.raises(KeyboardInterrupt):
        run(ask("clips", output=Path("stopped")))
    monkeypatch.undo()
    monkeypatch.chdir(clips.parent)
    assert run(ask("clips", output=Path("stopped"), resume=True)).computed < 6
    shard = "images-000000.parquet"
    assert Path("stopped", shard).read_bytes() == Path("whole", shard).read_bytes()


def test_a_second_try_gives_a_video_the_codes_that_it_would_have_had(clips, ask):
    run(ask("clips", output=Path("tokens")))
    write_video(clips / "c.mp4", 20)
    summary = run(ask(output=Path("tokens"), resume=True, retry_failed=True))
    assert (summary.images, summary.failed) == (6, 0)
    run(ask("clips", output=Path("whole")))
    again = {row.key: row.segments for row in open_shards(["tokens"])}
    assert again == {row.key: row.segments for row in open_shards(["whole"])}


def write_tar(path: Path, **files: bytes) -> None:
    with tarfile.open(path, "w") as tar:
        for name, content in files.items():
            info = tarfile.TarInfo(name.replace("_", "."))
            info.size = len(content)
            tar.addfile(info, io.BytesIO(content))


def test_videos_in_tars_with_their_captions(clips, ask):
    film, still = (clips / "a.mp4").read_bytes(), (clips / "00.png").read_bytes()
    write_tar(Path("films.tar"), a_mp4=film, a_txt=b"light", b_png=still)
    run(ask("films.tar", output=Path("films")))
    rows = list(open_shards(["films"]))
    assert [(row.key, len(list(row.codes())), row.words()) for row in rows] == [
        ("films/a", 4, "light"),
        ("films/b", 1, ""),
    ]
    # a shard of pictures cannot hold one
    write_tar(Path("stills.tar"), a_png=still, b_mp4=film)
    summary = run(ask("stills.tar", output=Path("stills")))
    assert (summary.images, summary.failed) == (1, 1)
    assert "is a video where pictures come first" in Path("stills/errors.jsonl").read_text()


def test_detokenize_names_each_frame(clips, ask, tiny_tokenizer_folder):
    run(ask("clips/a.mp4", "clips/00.png", output=Path("codes.jsonl")))
    run(ask("clips/a.mp4", "clips/00.png", output=Path("tokens")))
    for source in ("codes.jsonl", "tokens"):
        drawn = plan_drawing(
            DetokenizeRequest(
                inputs=(source,), output=Path("out"), model=str(tiny_tokenizer_folder), steps=1
            )
        )
        assert [picture.path.name for picture in drawn.pictures] == [
            *(f"a-{number:03d}.png" for number in range(4)),
            "00.png",
        ]


def test_plan_counts_frames(clips, ask):
    planned = plan(ask("clips", frames=8))
    assert (planned["images"], planned["videos"]) == (6, 3)
    assert planned["bytes_of_codes"] == (3 + 3 * 8) * planned["codes_per_image"] * 2

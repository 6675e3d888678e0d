"""Codes -> pictures: what is read, refused, named, kept and written."""

from __future__ import annotations

import dataclasses
import io
import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from seedcli.console import Reporter
from seedcli.data.images.facts import PNG_KEY, read_picture_facts
from seedcli.data.images.images import save_image
from seedcli.engine.engines import EngineChoice, Report, Slice
from seedcli.engine.workers import ThisProcess
from seedcli.errors import DataError, PartialFailure, UsageError
from seedcli.models.language.vocab import format_span
from seedcli.models.weights.locate import locate
from seedcli.workflows.detokenize import draw as draw_module
from seedcli.workflows.detokenize import run as plan_module
from seedcli.workflows.detokenize.draw import draw
from seedcli.workflows.detokenize.request import DetokenizeRequest
from seedcli.workflows.detokenize.run import Plan
from tests.engine.elsewhere import send_elsewhere


class Listener(Reporter):
    """Keeps what is said."""

    def __init__(self) -> None:
        self.said: list[str] = []

    def note(self, text: str) -> None:
        self.said.append(text)

    def warn(self, text: str) -> None:
        self.said.append(text)


def _codes(index: int = 0) -> list[int]:
    return [(7 * index + 3 * position) % 64 for position in range(32)]


def plan(words: list[str], output: Path, request: DetokenizeRequest, **others: Any) -> Any:
    """The plan of a request with these inputs and this output."""
    return plan_module.plan(
        dataclasses.replace(request, inputs=tuple(words), output=output), **others
    )


def _lines(*images: dict[str, Any] | list[int]) -> io.BytesIO:
    return io.BytesIO("\n".join(json.dumps(image) for image in images).encode())


def _fingerprint(folder: Path) -> str:
    return json.loads((folder / "seed_tokenizer.json").read_text())["fingerprint"]


@pytest.fixture
def settings(tiny_model_folder: Path) -> Any:
    """Settings of a quick run, with some replaced."""

    def make(**replaced: Any) -> DetokenizeRequest:
        return DetokenizeRequest(
            **{
                "model": str(tiny_model_folder),
                "device": "cpu",
                "steps": 1,
                "guidance": 2.0,
                "batch_size": 2,
                **replaced,
            }
        )

    return make


def _picture(path: Path) -> Image.Image:
    with Image.open(path) as image:
        return image.copy()


def _array(path: Path) -> np.ndarray:
    return np.asarray(_picture(path)).astype(int)


def _names(planned: Plan) -> list[str]:
    return [picture.path.name for picture in planned.pictures]


def test_one_image_from_integers(settings: Any, tiny_model_folder: Path, tmp_path: Path) -> None:
    out = tmp_path / "out.png"
    results = list(draw(plan([str(code) for code in _codes()], out, settings(seed=5))))
    expected = {
        "source": None,
        "output": str(out),
        "codes": _codes(),
        "model": "tiny",
        "fingerprint": _fingerprint(tiny_model_folder),
        "steps": 1,
        "guidance": 2.0,
        "seed": 5,
    }
    assert results == [expected]
    with Image.open(out) as image:
        assert (image.size, image.mode) == ((32, 32), "RGB")
    assert read_picture_facts(out) == {
        key: value for key, value in expected.items() if key not in ("source", "output")
    }
    assert [path.name for path in tmp_path.iterdir()] == ["out.png"]


def test_defaults_are_the_presets(tiny_model_folder: Path, tmp_path: Path) -> None:
    planned = plan(
        [],
        tmp_path / "out.png",
        DetokenizeRequest(device="cpu", model=str(tiny_model_folder)),
        stdin=_lines(_codes()),
    )
    assert (planned.steps, planned.guidance) == (20, 10.0)
    planned = plan(
        ["-"],
        tmp_path / "out.png",
        DetokenizeRequest(device="cpu", model="seed-2"),
        stdin=_lines([8191] * 32),
    )
    assert (planned.steps, planned.guidance, planned.model.config.name) == (20, 10.0, "seed-2")


@pytest.mark.parametrize(
    ("codes", "says"),
    [
        ([8192] + [0] * 31, "line 2: code 0 is 8192, expected 0..8191"),
        ([0] * 31, "line 2: 31 codes, expected exactly 32"),
        ([0] * 33, "line 2: 33 codes"),
        ([0] * 31 + [-1], "code 31 is -1"),
        ([1.0] + [0] * 31, "code 0 is 1.0, expected an integer"),
        ([True] + [0] * 31, "code 0 is True, expected an integer"),
        (["7"] + [0] * 31, "code 0 is '7', expected an integer"),
        (["<img_00007>"] * 32, "code 0 is '<img_00007>'"),
        ([None] * 32, "code 0 is None"),
        ("0" * 32, "codes are str"),
        (None, "codes are NoneType"),
        ({}, "codes are dict"),
    ],
)
def test_one_malformed_image_of_many_refuses_all(tmp_path: Path, codes: Any, says: str) -> None:
    with pytest.raises(UsageError) as caught:
        plan(
            [],
            tmp_path / "out",
            DetokenizeRequest(device="cpu", model="seed-2"),
            stdin=_lines({"codes": [0] * 32}, {"codes": codes}, {"codes": [0] * 32}),
        )
    assert says in caught.value.message
    assert caught.value.exit_code == 2
    assert not (tmp_path / "out").exists()


def test_codes_of_another_model_are_refused_before_their_range_is(
    settings: Any, tmp_path: Path
) -> None:
    stdin = {"codes": [8191] * 32, "model": "seed-2", "fingerprint": "0123456789abcdef"}
    with pytest.raises(
        DataError,
        match=r"line 1: these codes were made by seed-2 \(0123456789abcdef\), not by tiny",
    ) as caught:
        plan([], tmp_path / "out.png", settings(), stdin=_lines(stdin))
    assert "--model seed-2" in caught.value.remedy
    with pytest.raises(UsageError, match="8191"):
        plan([], tmp_path / "out.png", settings(force=True), stdin=_lines(stdin))
    listener = Listener()
    planned = plan(
        [],
        tmp_path / "out.png",
        settings(force=True),
        stdin=_lines(stdin | {"codes": _codes()}),
        reporter=listener,
    )
    assert len(planned.pictures) == 1
    assert "made by seed-2" in listener.said[0]


def test_a_fingerprint_that_only_weights_tell_is_checked_before_drawing(
    released_folder: Path, tiny_decoder_folder: Path, tmp_path: Path
) -> None:

    folder = tmp_path / "released"
    shutil.copytree(released_folder, folder)
    (folder / "seed_fingerprint.json").unlink(missing_ok=True)
    shutil.copytree(tiny_decoder_folder, folder / "decoder")
    settings = DetokenizeRequest(device="cpu", model=str(folder), steps=1, guidance=1.0)
    foreign = plan(
        [], tmp_path / "out.png", settings, stdin=_lines({"codes": _codes(), "fingerprint": "f00"})
    )
    with pytest.raises(DataError, match="f00"):
        list(draw(foreign))
    assert not (tmp_path / "out.png").exists()

    [result] = draw(plan([], tmp_path / "out.png", settings, stdin=_lines(_codes())))
    assert len(result["fingerprint"]) == 16


def test_a_picture_of_other_weights_is_not_kept(tiny_model_folder: Path, tmp_path: Path) -> None:
    """Where only loading tells the fingerprint, what is kept is decided after it."""
    settings = DetokenizeRequest(
        device="cpu", model=str(tiny_model_folder), steps=1, guidance=1.0, resume=True
    )
    out = tmp_path / "out.png"
    known = plan([], out, settings, stdin=_lines(_codes()))
    [drawn] = draw(known)
    unknown = dataclasses.replace(known.model, fingerprint=None)
    [picture] = known.pictures
    for fingerprint, kept in ((drawn["fingerprint"], True), ("f00", False)):
        save_image(
            _picture(out),
            out,
            text={PNG_KEY: json.dumps(picture.facts | {"fingerprint": fingerprint})},
        )
        late = dataclasses.replace(picture, facts=picture.facts | {"fingerprint": None}, kept=True)
        [result] = draw(dataclasses.replace(known, model=unknown, pictures=[late]))
        assert (result["fingerprint"], result.get("kept", False)) == (drawn["fingerprint"], kept)


def test_a_file_of_token_text(settings: Any, tmp_path: Path) -> None:
    path = tmp_path / "codes.txt"
    path.write_text(format_span(_codes(1)) + "\n" + format_span(_codes(2)) + "\n")
    planned = plan([str(path)], tmp_path / "out", settings())
    assert [picture.image.codes for picture in planned.pictures] == [_codes(1), _codes(2)]
    assert _names(planned) == ["000000.png", "000001.png"]


@pytest.mark.parametrize("folder", [False, True])
def test_token_shards_and_parquet(
    settings: Any, tiny_model_folder: Path, tmp_path: Path, folder: bool
) -> None:
    from seedcli.data.tokens.shards import ShardHeader, TokenRow, write_shard

    header = ShardHeader(
        tokenizer="tiny",
        fingerprint=_fingerprint(tiny_model_folder),
        num_queries=32,
        num_codes=64,
        image_handling="seed",
        numerics="default",
        dtype="float32",
        micro_batch=(2, 3, 56, 56),
    )
    path = tmp_path / "tokens" / "000000.parquet"
    path.parent.mkdir()
    write_shard(
        path,
        header,
        [
            TokenRow(f"k{index}", _codes(index), None, f"photos/{index}.jpg", None)
            for index in range(3)
        ],
    )
    planned = plan([str(path.parent if folder else path)], tmp_path / "out", settings(limit=2))
    assert [picture.image.codes for picture in planned.pictures] == [_codes(0), _codes(1)]
    assert _names(planned) == ["0.png", "1.png"]
    assert planned.pictures[1].image.where == f"{path}, row 1"
    with pytest.raises(DataError, match="made by tiny"):
        plan(
            [str(path)],
            tmp_path / "out",
            DetokenizeRequest(device="cpu", model=str(_other_model(tiny_model_folder, tmp_path))),
        )


def _other_model(folder: Path, tmp_path: Path) -> Path:
    other = tmp_path / "other"
    other.mkdir()
    facts = json.loads((folder / "seed_tokenizer.json").read_text())
    (other / "seed_tokenizer.json").write_text(json.dumps(facts | {"weights_digest": "feed"}))
    (other / "model.safetensors").touch()
    return other


def test_names_come_from_sources_and_never_collide(settings: Any, tmp_path: Path) -> None:
    sources = [
        "a/cat.jpg",
        "b/cat.png",
        "CAT.webp",
        "cat-2.jpg",
        None,
        "https://x.org/dog.jpg?size=2",
        "../..",
        "C:\\pics\\pig.gif",
        "ü ö.jpg",
        "a" * 300,
    ]
    stdin = _lines(*({"codes": _codes(), "source": source} for source in sources))
    names = _names(plan([], tmp_path / "out", settings(), stdin=stdin))
    assert names[:5] == ["cat.png", "cat-2.png", "CAT-3.png", "cat-2-2.png", "000004.png"]
    assert names[5:9] == ["dog.png", "000006.png", "pig.png", "ü_ö.png"]
    assert names[9] == "a" * 120 + ".png"


def test_outputs_that_cannot_be(settings: Any, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="2 images do not fit"):
        plan([], tmp_path / "out.png", settings(), stdin=_lines(_codes(), _codes()))
    with pytest.raises(UsageError, match="PNG"):
        plan([], tmp_path / "out.jpg", settings(), stdin=_lines(_codes()))
    (tmp_path / "file").touch()
    for inside in ("file", "file/out", "file/out.png"):
        with pytest.raises(DataError, match="file is no folder"):
            plan([], tmp_path / inside, settings(), stdin=_lines(_codes()))
    with pytest.raises(UsageError, match="too large"):
        plan([], tmp_path / "out", settings(seed=2**63 - 1), stdin=_lines(_codes(), _codes()))
    with pytest.raises(UsageError, match="stdin holds no codes"):
        plan([], tmp_path / "out", settings(), stdin=_lines())


def test_a_file_that_is_not_ours_is_not_replaced(settings: Any, tmp_path: Path) -> None:
    photo = tmp_path / "photo.png"
    Image.new("RGB", (4, 4)).save(photo)
    before = photo.read_bytes()
    for resume in (False, True):
        with pytest.raises(DataError, match="no picture of seed detokenize"):
            plan([], photo, settings(resume=resume), stdin=_lines(_codes()))
    assert photo.read_bytes() == before
    list(draw(plan([], photo, settings(force=True), stdin=_lines(_codes()))))
    assert read_picture_facts(photo)["codes"] == _codes()


def test_an_interrupted_run_resumes_to_the_same_bytes(settings: Any, tmp_path: Path) -> None:
    images = [_codes(index) for index in range(5)]
    whole, broken = tmp_path / "whole", tmp_path / "broken"
    assert len(list(draw(plan([], whole, settings(), stdin=_lines(*images))))) == 5

    running = draw(plan([], broken, settings(), stdin=_lines(*images)))
    for _ in range(3):
        next(running)
    running.close()
    assert sorted(path.name for path in broken.iterdir()) == [
        "000000.png",
        "000001.png",
        "000002.png",
    ]

    stamps = {path.name: path.stat().st_mtime_ns for path in broken.iterdir()}
    results = list(draw(plan([], broken, settings(resume=True), stdin=_lines(*images))))
    assert [result.get("kept", False) for result in results] == [True, True, True, False, False]
    assert {name: (broken / name).stat().st_mtime_ns for name in stamps} == stamps
    assert [
        (broken / path.name).read_bytes() == path.read_bytes() for path in sorted(whole.iterdir())
    ] == [True] * 5

    finished = plan([], broken, settings(resume=True), stdin=_lines(*images))
    assert finished.summary()["kept"] == 5
    assert all(result["kept"] for result in draw(finished))


def test_resume_keeps_nothing_that_other_settings_drew(settings: Any, tmp_path: Path) -> None:
    list(draw(plan([], tmp_path / "out.png", settings(), stdin=_lines(_codes()))))
    for change in ({"seed": 1}, {"steps": 2}, {"guidance": 3.0}, {"codes_only": 4}):
        [picture] = plan(
            [], tmp_path / "out.png", settings(resume=True, **change), stdin=_lines(_codes())
        ).pictures
        assert not picture.kept, change
    [picture] = plan(
        [], tmp_path / "out.png", settings(resume=True), stdin=_lines(_codes(1))
    ).pictures
    assert not picture.kept
    [picture] = plan(
        [], tmp_path / "out.png", settings(resume=True), stdin=_lines(_codes())
    ).pictures
    assert picture.kept


def test_negative_codes(settings: Any, tmp_path: Path) -> None:
    negative = tmp_path / "negative.txt"
    negative.write_text(format_span(_codes(9)))
    images = _codes(1), _codes(2)

    def pictures(name: str, **replaced: Any) -> list[np.ndarray]:
        results = draw(plan([], tmp_path / name, settings(**replaced), stdin=_lines(*images)))
        return [_array(Path(result["output"])) for result in results]

    plain, moved = (
        pictures("plain", guidance=40.0),
        pictures("moved", guidance=40.0, negative=negative),
    )
    assert np.abs(plain[1] - moved[1]).max() > 10
    assert read_picture_facts(tmp_path / "moved" / "000001.png")["negative"] == _codes(9)
    # each away from itself: as without guidance, up to rounding
    negative.write_text(format_span(_codes(1)) + format_span(_codes(2)))
    for away, free in zip(
        pictures("away", negative=negative), pictures("free", guidance=1.0), strict=True
    ):
        assert np.abs(away - free).max() <= 1

    with pytest.raises(UsageError, match="no effect"):
        plan([], tmp_path / "x", settings(negative=negative, guidance=1.0), stdin=_lines(*images))
    with pytest.raises(
        UsageError, match=r"holds 2 images; --negative takes one for all, or one for each of 3"
    ):
        plan([], tmp_path / "x", settings(negative=negative), stdin=_lines(*images, _codes(3)))
    negative.write_text(format_span([64] * 32))
    with pytest.raises(UsageError, match="code 0 is 64"):
        plan([], tmp_path / "x", settings(negative=negative), stdin=_lines(*images))


def test_codes_only_forgets_what_follows(settings: Any, tmp_path: Path) -> None:
    first, other = _codes(1), _codes(1)[:8] + _codes(2)[8:]
    listener = Listener()
    planned = plan(
        [],
        tmp_path / "some",
        settings(codes_only=8, seed=0, batch_size=1),
        stdin=_lines(first, other),
    )
    results = list(draw(planned, reporter=listener))
    assert results[0]["codes"] == first
    assert (results[0]["codes_only"], results[0]["fill"], results[0]["trained_with_prefixes"]) == (
        8,
        "mean",
        False,
    )
    assert any("mean of the codebook fills instead" in said for said in listener.said)
    assert any("not trained on prefixes" in said for said in listener.said)

    def picture(codes: list[int], **replaced: Any) -> bytes:
        [result] = draw(plan([], tmp_path / "one.png", settings(**replaced), stdin=_lines(codes)))
        return _array(Path(result["output"])).tobytes()

    assert picture(first, codes_only=8) == picture(other, codes_only=8)
    assert picture(first, codes_only=9) != picture(other, codes_only=9)
    assert picture(first, codes_only=32) == picture(first)
    with pytest.raises(UsageError, match="an image has 32 codes"):
        plan([], tmp_path / "x.png", settings(codes_only=33), stdin=_lines(first))


def test_position_means_of_the_weights_fill(tiny_model_folder: Path) -> None:
    import torch

    from seedcli.workflows.detokenize.fill import prefix_embedding
    from seedcli.workflows.pictures import SeedTokenizer

    tokenizer = SeedTokenizer(locate(str(tiny_model_folder)), device="cpu")
    codebook = tokenizer.model.codebook
    codebook.position_mean = torch.randn_like(codebook.position_mean)
    listener = Listener()
    embed = prefix_embedding(tokenizer, 1, llm=None, reporter=listener)
    assert len(listener.said) == 1  # not trained with prefixes
    vectors = torch.cat([codebook.embedding[_codes()[:1]], codebook.position_mean[1:]])[None]
    embedding, completed = embed([_codes()], [0])
    assert torch.equal(embedding, tokenizer.model.decode_vectors(vectors))
    assert completed is None


def test_a_model_without_decoder(tiny_tokenizer_folder: Path, tmp_path: Path) -> None:
    with pytest.raises(DataError, match="decoder"):
        list(
            draw(
                plan(
                    [],
                    tmp_path / "out.png",
                    DetokenizeRequest(device="cpu", model=str(tiny_tokenizer_folder)),
                    stdin=_lines(_codes()),
                ),
            )
        )


def test_progress_tells_steps(settings: Any, tmp_path: Path) -> None:
    import contextlib

    from seedcli.progress import Progress

    class Counting(Reporter):
        @contextlib.contextmanager
        def progress(self, description: str, total: int | None = None) -> Any:
            self.seen = Progress(description, total)
            yield self.seen

    reporter = Counting()
    list(
        draw(
            plan([], tmp_path / "out", settings(), stdin=_lines(_codes(), _codes(), _codes())),
            reporter=reporter,
        )
    )
    assert (reporter.seen.total, reporter.seen.done) == (3, 3)
    assert reporter.seen.figures["step"] == 1


def test_other_engines_draw_the_same_in_the_same_order(
    settings: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    send_elsewhere(monkeypatch, draw_module)
    images = [_codes(index) for index in range(5)]

    def drawn(folder: str, resume: bool = False, **choice: Any) -> list[str]:
        how = settings(resume=resume, engine=EngineChoice(**choice))
        wanted = plan([], tmp_path / folder, how, stdin=_lines(*images))
        return [Path(result["output"]).name for result in draw(wanted)]

    def contents(folder: str) -> dict[str, bytes]:
        return {path.name: path.read_bytes() for path in (tmp_path / folder).iterdir()}

    assert drawn("alone") == drawn("elsewhere", nproc=2) == [f"00000{n}.png" for n in range(5)]
    assert contents("elsewhere") == contents("alone")
    assert drawn("parts", part=Slice(1, 2)) == ["000002.png", "000003.png"]
    assert drawn("parts", part=Slice(0, 2)) == ["000000.png", "000001.png", "000004.png"]
    assert drawn("parts", resume=True) == [f"00000{n}.png" for n in range(5)]
    assert contents("parts") == contents("alone")


class LosesItsFirstPart(ThisProcess):
    def run(self, parts: Any) -> Any:
        first, *others = parts
        yield Report(first, "lost", "process 0", "it ended 3 worker processes")
        yield from super().run(others)


def test_pictures_that_end_their_worker_are_named_and_the_others_drawn(
    settings: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(
        draw_module,
        "open_workers",
        lambda choice, worker, *, device, reporter: LosesItsFirstPart(worker, reporter),
    )
    wanted = plan([], tmp_path, settings(), stdin=_lines(*[_codes(n) for n in range(3)]))
    results: list[dict[str, Any]] = []
    with pytest.raises(PartialFailure, match="2 of 3 pictures are not drawn"):
        results.extend(draw(wanted))
    assert [Path(result["output"]).name for result in results] == ["000002.png"]

"""Codes -> pictures: what is drawn and written, and by whom."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from seedcli.console import Reporter
from seedcli.data.images.facts import read_picture_facts
from seedcli.engine.engines import EngineChoice, Report, Slice
from seedcli.engine.workers import ThisProcess
from seedcli.errors import DataError, PartialFailure, UsageError
from seedcli.models.language.vocab import format_span
from seedcli.models.weights.locate import locate
from seedcli.workflows.detokenize import draw as draw_module
from seedcli.workflows.detokenize.draw import draw
from seedcli.workflows.detokenize.request import DetokenizeRequest
from tests.engine.elsewhere import send_elsewhere
from tests.workflows.detokenize.quick_runs import (
    Listener,
    as_lines,
    make_codes,
    open_picture,
    plan,
    read_fingerprint,
)


def _array(path: Path) -> np.ndarray:
    return np.asarray(open_picture(path)).astype(int)


def test_one_image_from_integers(settings: Any, tiny_model_folder: Path, tmp_path: Path) -> None:
    out = tmp_path / "out.png"
    results = list(draw(plan([str(code) for code in make_codes()], out, settings(seed=5))))
    expected = {
        "source": None,
        "output": str(out),
        "codes": make_codes(),
        "model": "tiny",
        "fingerprint": read_fingerprint(tiny_model_folder),
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
        stdin=as_lines(make_codes()),
    )
    assert (planned.steps, planned.guidance) == (20, 10.0)
    planned = plan(
        ["-"],
        tmp_path / "out.png",
        DetokenizeRequest(device="cpu", model="seed-2"),
        stdin=as_lines([8191] * 32),
    )
    assert (planned.steps, planned.guidance, planned.model.config.name) == (20, 10.0, "seed-2")


def test_an_interrupted_run_resumes_to_the_same_bytes(settings: Any, tmp_path: Path) -> None:
    images = [make_codes(index) for index in range(5)]
    whole, broken = tmp_path / "whole", tmp_path / "broken"
    assert len(list(draw(plan([], whole, settings(), stdin=as_lines(*images))))) == 5

    running = draw(plan([], broken, settings(), stdin=as_lines(*images)))
    for _ in range(3):
        next(running)
    running.close()
    assert sorted(path.name for path in broken.iterdir()) == [
        "000000.png",
        "000001.png",
        "000002.png",
    ]

    stamps = {path.name: path.stat().st_mtime_ns for path in broken.iterdir()}
    results = list(draw(plan([], broken, settings(resume=True), stdin=as_lines(*images))))
    assert [result.get("kept", False) for result in results] == [True, True, True, False, False]
    assert {name: (broken / name).stat().st_mtime_ns for name in stamps} == stamps
    assert [
        (broken / path.name).read_bytes() == path.read_bytes() for path in sorted(whole.iterdir())
    ] == [True] * 5

    finished = plan([], broken, settings(resume=True), stdin=as_lines(*images))
    assert finished.summary()["kept"] == 5
    assert all(result["kept"] for result in draw(finished))


def test_resume_keeps_nothing_that_other_settings_drew(settings: Any, tmp_path: Path) -> None:
    list(draw(plan([], tmp_path / "out.png", settings(), stdin=as_lines(make_codes()))))
    for change in ({"seed": 1}, {"steps": 2}, {"guidance": 3.0}, {"codes_only": 4}):
        [picture] = plan(
            [], tmp_path / "out.png", settings(resume=True, **change), stdin=as_lines(make_codes())
        ).pictures
        assert not picture.kept, change
    [picture] = plan(
        [], tmp_path / "out.png", settings(resume=True), stdin=as_lines(make_codes(1))
    ).pictures
    assert not picture.kept
    [picture] = plan(
        [], tmp_path / "out.png", settings(resume=True), stdin=as_lines(make_codes())
    ).pictures
    assert picture.kept


def test_negative_codes(settings: Any, tmp_path: Path) -> None:
    negative = tmp_path / "negative.txt"
    negative.write_text(format_span(make_codes(9)))
    images = make_codes(1), make_codes(2)

    def pictures(name: str, **replaced: Any) -> list[np.ndarray]:
        results = draw(plan([], tmp_path / name, settings(**replaced), stdin=as_lines(*images)))
        return [_array(Path(result["output"])) for result in results]

    plain, moved = (
        pictures("plain", guidance=40.0),
        pictures("moved", guidance=40.0, negative=negative),
    )
    assert np.abs(plain[1] - moved[1]).max() > 10
    assert read_picture_facts(tmp_path / "moved" / "000001.png")["negative"] == make_codes(9)
    # each away from itself: as without guidance, up to rounding
    negative.write_text(format_span(make_codes(1)) + format_span(make_codes(2)))
    for away, free in zip(
        pictures("away", negative=negative), pictures("free", guidance=1.0), strict=True
    ):
        assert np.abs(away - free).max() <= 1

    with pytest.raises(UsageError, match="no effect"):
        plan([], tmp_path / "x", settings(negative=negative, guidance=1.0), stdin=as_lines(*images))
    with pytest.raises(
        UsageError, match=r"holds 2 images; --negative takes one for all, or one for each of 3"
    ):
        plan(
            [], tmp_path / "x", settings(negative=negative), stdin=as_lines(*images, make_codes(3))
        )
    negative.write_text(format_span([64] * 32))
    with pytest.raises(UsageError, match="code 0 is 64"):
        plan([], tmp_path / "x", settings(negative=negative), stdin=as_lines(*images))


def test_codes_only_forgets_what_follows(settings: Any, tmp_path: Path) -> None:
    first, other = make_codes(1), make_codes(1)[:8] + make_codes(2)[8:]
    listener = Listener()
    planned = plan(
        [],
        tmp_path / "some",
        settings(codes_only=8, seed=0, batch_size=1),
        stdin=as_lines(first, other),
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
        [result] = draw(plan([], tmp_path / "one.png", settings(**replaced), stdin=as_lines(codes)))
        return _array(Path(result["output"])).tobytes()

    assert picture(first, codes_only=8) == picture(other, codes_only=8)
    assert picture(first, codes_only=9) != picture(other, codes_only=9)
    assert picture(first, codes_only=32) == picture(first)
    with pytest.raises(UsageError, match="an image has 32 codes"):
        plan([], tmp_path / "x.png", settings(codes_only=33), stdin=as_lines(first))


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
    vectors = torch.cat([codebook.embedding[make_codes()[:1]], codebook.position_mean[1:]])[None]
    embedding, completed = embed([make_codes()], [0])
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
                    stdin=as_lines(make_codes()),
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
            plan(
                [],
                tmp_path / "out",
                settings(),
                stdin=as_lines(make_codes(), make_codes(), make_codes()),
            ),
            reporter=reporter,
        )
    )
    assert (reporter.seen.total, reporter.seen.done) == (3, 3)
    assert reporter.seen.figures["step"] == 1


def test_other_engines_draw_the_same_in_the_same_order(
    settings: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    send_elsewhere(monkeypatch, draw_module)
    images = [make_codes(index) for index in range(5)]

    def drawn(folder: str, resume: bool = False, **choice: Any) -> list[str]:
        how = settings(resume=resume, engine=EngineChoice(**choice))
        wanted = plan([], tmp_path / folder, how, stdin=as_lines(*images))
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
    wanted = plan([], tmp_path, settings(), stdin=as_lines(*[make_codes(n) for n in range(3)]))
    results: list[dict[str, Any]] = []
    with pytest.raises(PartialFailure, match="2 of 3 pictures are not drawn"):
        results.extend(draw(wanted))
    assert [Path(result["output"]).name for result in results] == ["000002.png"]

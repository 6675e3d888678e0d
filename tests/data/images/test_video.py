"""Videos -> frames: which, upright, whatever they are encoded as; and those that hold none."""

from __future__ import annotations

import fsspec
import pytest

from seedcli.data.images import video
from seedcli.data.images.images import ImageError
from seedcli.data.images.video import VideoFrame, as_png, read_frame, read_frames
from tests.videos import TURNED, write_sound, write_video


def frames_of(source, number=4):
    """Time and grey of each frame, the grey as the number of the frame that was written."""
    found = []
    for frame in read_frames(str(source), number):
        width, height = frame.image.size
        grey = sum(frame.image.getpixel((width // 2, height // 2))) / 3
        found.append((frame.time_s, round(grey / 8)))
    return found


@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("a.mp4", {}),
        ("one-key.mp4", {"key_every": 1000}),
        ("ten-bit.mp4", {"pixels": "yuv420p10le"}),
        ("a.mkv", {}),
        ("a.avi", {"codec": "mpeg4"}),
        ("a.webm", {"codec": "libvpx-vp9"}),
        ("a.mov", {"codec": "mpeg4"}),
    ],
)
def test_frames_are_the_middle_of_equal_parts(tmp_path, name, options):
    clip = write_video(tmp_path / name, **options)
    # (2k+1) 30 / 8 = 3.75, 11.25, 18.75, 26.25
    assert frames_of(clip) == [(0.3, 3), (1.1, 11), (1.8, 18), (2.6, 26)]
    assert frames_of(clip, 1) == [(1.5, 15)]
    assert [time for time, _ in frames_of(clip, 30)] == [number / 10 for number in range(30)]


def test_a_tick_that_files_round_up_is_no_other_frame(tmp_path):
    # Matroska's times are milliseconds: 3 frames a second are at 0, 333, 667
    clip = write_video(tmp_path / "a.mkv", 16, rate=3)
    assert [frame for _, frame in frames_of(clip)] == [2, 6, 10, 14]


def test_where_the_rate_varies_frames_are_even_in_time(tmp_path):
    # ten frames in the first second, then one a second to 10.1: the middles are at 2.525 and 7.575
    times = [*range(10), *(10 * second for second in range(1, 11))]
    clip = write_video(tmp_path / "a.mp4", 20, times=times)
    assert frames_of(clip, 2) == [(2.0, 11), (7.0, 16)]


def test_a_short_video_gives_a_frame_several_times(tmp_path):
    assert frames_of(write_video(tmp_path / "a.mp4", 1)) == [(0.0, 0)] * 4
    assert [frame for _, frame in frames_of(write_video(tmp_path / "b.mp4", 3))] == [0, 1, 1, 2]


@pytest.mark.parametrize("turned", TURNED)
def test_frames_are_upright(tmp_path, turned):
    clip = write_video(tmp_path / "a.mp4", 5, turned=turned)
    [frame] = read_frames(str(clip), 1)
    white = {
        (right, below)
        for right in (0, 1)
        for below in (0, 1)
        if frame.image.getpixel(
            (3 + right * (frame.image.width - 7), 3 + below * (frame.image.height - 7))
        )[0]
        > 200
    }
    corner = {"none": (0, 0), "right": (1, 0), "half": (1, 1), "left": (0, 1), "mirrored": (1, 0)}
    assert white == {corner[turned]}
    assert frame.image.size == ((48, 64) if turned in ("right", "left") else (64, 48))


def test_one_frame_is_that_frame_and_bytes_and_addresses_are_files(tmp_path):
    clip = write_video(tmp_path / "a.mp4")
    frames = list(read_frames(str(clip), 4))
    assert read_frame(VideoFrame(str(clip), 2, 4)).tobytes() == frames[2].image.tobytes()
    assert [one.image.tobytes() for one in read_frames(clip.read_bytes(), 4)] == [
        one.image.tobytes() for one in frames
    ]
    fsspec.filesystem("memory").pipe("/clips/a.mp4", clip.read_bytes())
    assert frames_of("memory://clips/a.mp4") == frames_of(clip)
    assert as_png(frames[0].image).startswith(b"\x89PNG")


@pytest.mark.parametrize(
    ("reason", "make"),
    [
        ("is empty", lambda path: path.write_bytes(b"")),
        ("is not a video that can be read", lambda path: path.write_bytes(b"\0\0\0\x18ftypmp42")),
        ("holds only sound", write_sound),
        ("holds only sound", lambda path: write_sound(path, cover=True)),
        # a playlist names other files, which nobody asked for
        (
            "is not a video that can be read",
            lambda path: path.write_text("#EXTM3U\n#EXTINF:1,\nfile:///etc/hostname\n"),
        ),
    ],
)
def test_what_holds_no_frames_is_said(tmp_path, reason, make):
    path = tmp_path / "clip.mp4"
    make(path)
    with pytest.raises(ImageError, match=reason) as failed:
        list(read_frames(str(path), 4))
    assert failed.value.message.startswith(f"{path}: ")


@pytest.mark.parametrize(
    ("name", "options", "share", "reason"),
    [
        ("a.mp4", {}, 0.5, "is not a video that can be read"),  # its index was at the end
        ("a.mp4", {"movflags": "faststart"}, 0.7, "is a video that is cut off: 1 frames to second"),
        ("a.mkv", {}, 0.7, "is a video that is cut off"),
    ],
)
def test_a_cut_video_is_refused_as_a_cut_picture_is(tmp_path, name, options, share, reason):
    clip = write_video(tmp_path / name, **options)
    data = clip.read_bytes()
    clip.write_bytes(data[: int(share * len(data))])
    with pytest.raises(ImageError, match=reason):
        list(read_frames(str(clip), 4))


def test_damage_within_ends_with_a_reason_or_with_frames(tmp_path):
    clip = write_video(tmp_path / "a.mp4")
    data = clip.read_bytes()
    refused = 0
    for place in range(0, len(data), len(data) // 60):
        clip.write_bytes(data[:place] + bytes(40) + data[place + 40 :])
        try:
            assert len(list(read_frames(str(clip), 4))) == 4
        except ImageError:
            refused += 1
    assert refused > 5


@pytest.mark.parametrize(
    ("limit", "value", "reason"),
    [
        ("MAX_IMAGE_PIXELS", 64 * 48 - 1, "is too large to be safe"),
        ("MAX_DURATION_S", 2, "is too long to be safe .3 s"),
        ("MAX_PACKETS", 20, "is too long to be safe"),
        ("MAX_BETWEEN", 2, "lies too far from a key frame"),
    ],
)
def test_limits_against_hostile_files(tmp_path, monkeypatch, limit, value, reason):
    clip = write_video(tmp_path / "a.mp4")
    monkeypatch.setattr(video, limit, value)
    with pytest.raises(ImageError, match=reason):
        list(read_frames(str(clip), 4))


def test_what_is_not_there_is_said(tmp_path):
    with pytest.raises(ImageError, match="no such file"):
        list(read_frames(str(tmp_path / "a.mp4"), 4))

"""Video file -> RGB frames, uniformly spaced, each an image like any other: before the first arrow
of the path.

PyAV decodes (FFmpeg's libraries come with it); it is imported where it is used. What a file says of
itself is believed within limits only, since videos come from anywhere.
"""

from __future__ import annotations

import contextlib
from bisect import bisect_right
from collections.abc import Iterator
from io import BytesIO
from pathlib import Path
from typing import Any, NamedTuple

from PIL import Image

from seedcli.data.images.endings import is_video
from seedcli.data.images.images import MAX_IMAGE_PIXELS, ImageError, ImageHandling, ImageSource
from seedcli.data.images.images import read_image as read_one
from seedcli.errors import DataError
from seedcli.storage import is_url, open_to_read

MAX_DURATION_S = 24 * 3600
MAX_PACKETS = 240 * MAX_DURATION_S  # of all streams: frames at 120 a second, and sound
MAX_BETWEEN = 20_000  # frames decoded to reach a wanted one: some minutes without a key frame

# Containers of one file. Left out on purpose: playlists (HLS, concat), which name other files and
# addresses, and whatever reads devices or scripts.
_FORMATS = "mov,mp4,matroska,webm,avi,mpeg,mpegts,mpegvideo,asf,flv,ogg,gif"
# Signs of x and y in the upper left corner of the display matrix -> what makes a frame upright.
_UPRIGHT: dict[tuple[int, ...], Image.Transpose] = {
    (0, 1, -1, 0): Image.Transpose.ROTATE_270,
    (0, -1, 1, 0): Image.Transpose.ROTATE_90,
    (-1, 0, 0, -1): Image.Transpose.ROTATE_180,
    (-1, 0, 0, 1): Image.Transpose.FLIP_LEFT_RIGHT,
    (1, 0, 0, -1): Image.Transpose.FLIP_TOP_BOTTOM,
    (0, 1, 1, 0): Image.Transpose.TRANSPOSE,
    (0, -1, -1, 0): Image.Transpose.TRANSVERSE,
}


class VideoFrame(NamedTuple):
    """One frame of a video, before it is read: the middle of part `part` of `parts` equal ones."""

    path: str
    part: int
    parts: int


class Frame(NamedTuple):
    """A frame: seconds after the first one, and the upright RGB image."""

    time_s: float
    image: Image.Image


def read_pictures(
    source: ImageSource | VideoFrame, frames: int, handling: ImageHandling = "seed"
) -> Iterator[Image.Image]:
    """One source in any form -> its pictures: those of a video, which its name's ending makes one;
    else one, as `read_image` has it.

    Raises:
        ImageError: It is no usable image, or no usable video.
    """
    if isinstance(source, VideoFrame):
        yield read_frame(source)
    elif isinstance(source, (str, Path)) and is_video(str(source)):
        path = str(source) if is_url(source) else str(Path(source).expanduser())
        for frame in read_frames(path, frames):
            yield frame.image
    else:
        yield read_one(source, handling)


def read_frame(frame: VideoFrame) -> Image.Image:
    """One frame of a video, as `read_frames` gives it among the others.

    Raises:
        ImageError: As `read_frames`.
    """
    return next(read_frames(frame.path, frame.parts, only=frame.part)).image


def as_png(image: Image.Image) -> bytes:
    """A frame -> a file that loses nothing, for those who read files."""
    file = BytesIO()
    image.save(file, "PNG", compress_level=1)  # it is read at once
    return file.getvalue()


def read_frames(source: str | bytes, number: int, *, only: int | None = None) -> Iterator[Frame]:
    """Video file, address or bytes -> `number` frames, each the one that is shown in the middle of
    one of as many equal parts of its time; a short video gives a frame several times.

    With a constant rate these are frames (2k+1)n/2N of n, as AILab-CVC/SEED@93b3cf4 takes them
    (MultiModalLLM/src/tools: the middle of equal segments).
    Differs from source: it counts frames where the rate varies, and seeks to the frame before.

    Args:
        source: Where it is, or what it is.
        number: Frames, at least 1.
        only: Which one, from 0; None: all.

    Raises:
        ImageError: It does not exist, is empty, damaged or cut off, holds no moving picture, or is
            larger or longer than is safe.
    """
    name = None if isinstance(source, bytes) else source
    try:
        with _opened(source) as (container, stream):
            times = _times(container, stream)
            wanted = _middles(times, number)
            yield from _decoded(
                container, stream, times, wanted if only is None else wanted[only : only + 1]
            )
    except ImageError as error:
        raise ImageError(error.reason, name) from None
    except DataError as error:  # an address that cannot be read
        raise ImageError(error.message.removeprefix(f"{name}: "), name) from error
    except FileNotFoundError:
        raise ImageError("no such file", name) from None
    except OSError as error:
        raise ImageError(f"cannot be read ({error.strerror or error})".lower(), name) from error
    except (ValueError, ArithmeticError, EOFError, LookupError, MemoryError, RuntimeError) as error:
        said = getattr(error, "strerror", None) or error
        raise ImageError(f"is a damaged video ({said})", name) from error


@contextlib.contextmanager
def _opened(source: str | bytes) -> Iterator[tuple[Any, Any]]:
    import av

    with contextlib.ExitStack() as stack:
        file = BytesIO(source) if isinstance(source, bytes) else open_to_read(source)
        stack.enter_context(file)
        start = file.read(16)
        if not start:
            raise ImageError("is empty (0 bytes)")
        file.seek(0)
        try:
            # by an open file, so that what it says cannot make FFmpeg open another
            container = av.open(
                file, options={"format_whitelist": _FORMATS}, metadata_errors="replace"
            )
        except av.error.FFmpegError as error:
            raise ImageError(
                f"is not a video that can be read ({error.strerror.lower()}; it starts with "
                f"{start!r})"
            ) from None
        stack.enter_context(container)
        streams = [
            one
            for one in container.streams.video
            if not one.disposition & av.stream.Disposition.attached_pic  # a record's cover
        ]
        if not streams:
            what = "only sound" if container.streams.audio else "no moving picture"
            raise ImageError(f"is a video file that holds {what}")
        stream = streams[0]
        if stream.codec_context is None:
            raise ImageError("is a video that is damaged, or in an encoding that is not known")
        _check_size(stream.codec_context.width, stream.codec_context.height)
        # frames are the same with more; decoders run beside each other in processes
        stream.codec_context.thread_count = 1
        yield container, stream


def _check_size(width: int, height: int) -> None:
    if width * height > MAX_IMAGE_PIXELS:
        raise ImageError(
            f"is too large to be safe ({width}x{height}); at most {MAX_IMAGE_PIXELS:,} pixels a "
            "frame are decoded"
        )


class _Times(NamedTuple):
    """When frames are shown, in ticks of the stream, in order; which can be sought; where the last
    one ends.
    """

    shown: list[int]
    keys: list[int]
    end: int


def _times(container: Any, stream: Any) -> _Times:
    """Reads every packet, and decodes none. AVI knows only when frames are decoded, which is when
    they are shown, but for a frame or two.
    """
    shown: list[int] = []
    keys: list[int] = []
    length, number, last_s = 1, 0, 0.0
    for packet in container.demux():
        if not packet.size:
            continue  # the end of a stream
        number += 1
        time = packet.dts if packet.pts is None else packet.pts
        if number > MAX_PACKETS:
            raise ImageError(f"is too long to be safe; at most {MAX_PACKETS:,} packets are read")
        if time is None:
            continue
        last_s = max(last_s, float((time + (packet.duration or 0)) * packet.time_base))
        if packet.stream.index != stream.index or packet.is_discard:
            continue
        shown.append(time)
        length = packet.duration or length
        if packet.is_keyframe:
            keys.append(time)
    if not shown:
        raise ImageError("is a video without a frame")
    shown.sort()
    end = shown[-1] + length
    seconds = float((end - shown[0]) * stream.time_base)
    if seconds > MAX_DURATION_S:
        raise ImageError(
            f"is too long to be safe ({seconds:,.0f} s); at most {MAX_DURATION_S:,} s are read"
        )
    promised_s = (container.duration or 0) / 1_000_000  # FFmpeg's own unit
    # headers count generously, and sound may end before or after the picture
    if len(shown) < 0.98 * stream.frames or last_s < 0.9 * promised_s - 0.5:
        raise ImageError(
            f"is a video that is cut off: {len(shown)} frames to second {last_s:.3g} of "
            f"{promised_s:.3g}"
        )
    return _Times(shown, sorted(keys), end)


def _middles(times: _Times, number: int) -> list[int]:
    """Times of the frames that are shown in the middle of each of `number` equal parts."""
    start, length = times.shown[0], times.end - times.shown[0]
    # files round times to ticks; where a tick is a frame (AVI) there is nothing to round
    start += length >= 4 * len(times.shown)
    middles = (start + (2 * part + 1) * length / (2 * number) for part in range(number))
    return [times.shown[bisect_right(times.shown, middle) - 1] for middle in middles]


def _decoded(container: Any, stream: Any, times: _Times, wanted: list[int]) -> Iterator[Frame]:
    """The frames that are shown at the wanted times, which ascend."""
    frames, at, held = iter(()), None, None
    for time in wanted:
        place = bisect_right(times.keys, time) - 1
        # what lies before the next key frame is decoded from where we are
        if at is None or (place >= 0 and times.keys[place] > at):
            frames = _sought(container, stream, times.keys[place] if place >= 0 else None, time)
            at = None
        number = 0
        while at is None or at < time:
            frame = next(frames, None)
            number += 1
            if frame is None or number > MAX_BETWEEN:
                second = float((time - times.shown[0]) * stream.time_base)
                why = "cannot be decoded" if frame is None else "lies too far from a key frame"
                raise ImageError(f"is a damaged video: the frame at {second:.3f} s {why}")
            at = frame.pts if frame.pts is not None else frame.dts
            held = frame
        yield Frame(round(float((at - times.shown[0]) * stream.time_base), 3), _upright(held))


def _sought(container: Any, stream: Any, key: int | None, time: int) -> Iterator[Any]:
    """Frames from a key frame on; from the very first where seeking leads too far."""
    for place in (key, None):
        if place is None:
            container.seek(-(1 << 62), any_frame=False)
        else:
            container.seek(place, stream=stream)
        frames = container.decode(stream)
        first = next(frames, None)
        if first is not None and (place is None or (first.pts or 0) <= time):
            yield first
            yield from frames
            return


def _upright(frame: Any) -> Image.Image:
    _check_size(frame.width, frame.height)  # a stream may change within
    image = frame.to_image()
    for data in frame.side_data:
        if data.type.name == "DISPLAYMATRIX":
            a, b, _, c, d = memoryview(bytes(data)).cast("i")[:5]
            signs = tuple((value > 1 << 15) - (value < -(1 << 15)) for value in (a, b, c, d))
            turn = _UPRIGHT.get(signs)
            return image if turn is None else image.transpose(turn)
    return image

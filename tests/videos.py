"""Videos as PyAV writes them: frame k is grey of value 8 k, with a white corner above and left."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import av
import numpy as np

# Upper left corner of the display matrix (a, b, c, d): x' = ax + cy, y' = bx + dy.
TURNED = {
    "none": (1, 0, 0, 1),
    "right": (0, 1, -1, 0),
    "half": (-1, 0, 0, -1),
    "left": (0, -1, 1, 0),
    "mirrored": (-1, 0, 0, 1),
}


def write_video(
    path: Path,
    frames: int = 30,
    *,
    codec: str = "libx264",
    pixels: str = "yuv420p",
    times: Sequence[int] | None = None,
    key_every: int = 5,
    rate: int = 10,
    size: tuple[int, int] = (64, 48),
    turned: str = "none",
    **options: str,
) -> Path:
    """Writes a clip; `times` are those of its frames, in frames of `rate`, where it varies."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with av.open(str(path), "w", options=options) as container:
        stream = container.add_stream(codec, rate=rate)
        stream.width, stream.height, stream.pix_fmt = *size, pixels
        stream.options = {"g": str(key_every)}
        for number in range(frames):
            image = np.full((size[1], size[0], 3), 8 * number % 256, np.uint8)
            image[:12, :12] = 255
            frame = av.VideoFrame.from_ndarray(image, format="rgb24")
            frame.pts = number if times is None else times[number]
            container.mux(stream.encode(frame))
        container.mux(stream.encode())
    if turned != "none":
        _turn(path, turned)
    return path


def write_sound(path: Path, *, cover: bool = False) -> Path:
    """Writes a second of silence, with a cover if wanted."""
    with av.open(str(path), "w") as container:
        stream = container.add_stream("aac", rate=8000)
        picture: Any = None
        if cover:
            picture = container.add_stream("mjpeg", rate=1)
            picture.width, picture.height, picture.pix_fmt = 64, 48, "yuvj420p"
            picture.disposition = av.stream.Disposition.attached_pic.value
        for _ in range(8):
            frame = av.AudioFrame(format="fltp", layout="mono", samples=1000)
            frame.sample_rate = 8000
            frame.planes[0].update(bytes(4000))
            container.mux(stream.encode(frame))
        container.mux(stream.encode())
        if picture:
            image = av.VideoFrame.from_ndarray(np.zeros((48, 64, 3), np.uint8), format="rgb24")
            container.mux(picture.encode(image.reformat(format="yuvj420p")))
            container.mux(picture.encode())
    return path


def _turn(path: Path, turned: str) -> None:
    """Writes the display matrix into the track's header, as a telephone does."""
    data = bytearray(path.read_bytes())
    place = data.index(b"tkhd") + 4 + 40  # of a header of version 0: the matrix follows 40 bytes
    a, b, c, d = TURNED[turned]
    matrix = (a << 16, b << 16, 0, c << 16, d << 16, 0, 0, 0, 1 << 30)
    data[place : place + 36] = b"".join(value.to_bytes(4, "big", signed=True) for value in matrix)
    path.write_bytes(data)

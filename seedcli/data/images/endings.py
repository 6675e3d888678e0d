"""Names of files that are looked for: pictures, videos and tars."""

import re

# What a folder or tar is searched for; a file that is named outright is always tried.
IMAGE_ENDINGS = frozenset(
    ("avif", "bmp", "dib", "gif", "ico", "j2k", "jfif", "jp2", "jpe", "jpeg", "jpg")
    + ("pbm", "pgm", "png", "pnm", "ppm", "psd", "qoi", "tga", "tif", "tiff", "webp")
)
VIDEO_ENDINGS = frozenset(
    ("3gp", "avi", "flv", "m4v", "mkv", "mov", "mp4", "mpeg", "mpg", "ogv", "webm", "wmv")
)
TAR_ENDINGS = (".tar", ".tar.gz", ".tgz", ".tar.bz2", ".tar.xz")
VIDEO_FRAMES = 4  # of a video of which nobody says how many; published for short ones


def is_image(name: str) -> bool:
    """Whether a file is called like a picture."""
    return name.rpartition(".")[2].lower() in IMAGE_ENDINGS


def is_video(name: str) -> bool:
    """Whether a file, or what an address leads to, is called like a video."""
    name = re.split("[?#]", name, maxsplit=1)[0] if "://" in name else name
    return name.rpartition(".")[2].lower() in VIDEO_ENDINGS


def frames_of(name: str) -> int | None:
    """Frames to take of a file of that name; None where it is no video."""
    return VIDEO_FRAMES if is_video(name) else None

"""Names of files that are looked for: pictures and tars."""

# What a folder or tar is searched for; a file that is named outright is always tried.
IMAGE_ENDINGS = frozenset(
    ("avif", "bmp", "dib", "gif", "ico", "j2k", "jfif", "jp2", "jpe", "jpeg", "jpg")
    + ("pbm", "pgm", "png", "pnm", "ppm", "psd", "qoi", "tga", "tif", "tiff", "webp")
)
TAR_ENDINGS = (".tar", ".tar.gz", ".tgz", ".tar.bz2", ".tar.xz")

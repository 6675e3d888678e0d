"""Pictures, videos, tars and tables of pictures: how they are damaged, and what reads them."""

from __future__ import annotations

import base64
import gzip
import io
import random
import tarfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

from hypothesis import strategies as st

from tests.torture.mutations import edited, edits
from tests.torture.subject import Subject, whole

PICTURES = Subject(
    "pictures",
    st.tuples(st.sampled_from(["png", "jpg", "gif", "webp", "bmp", "tiff"]), edits()),
    lambda damage, folder: (
        (folder / f"a.{damage[0]}").write_bytes(
            edited(whole(folder, f"picture.{damage[0]}"), damage[1])
        )
        and None
    ),
    lambda damage: [["tokenize", f"a.{damage[0]}"]],
)


VIDEOS = Subject(
    "videos",
    st.tuples(st.sampled_from(["mp4", "avi"]), edits()),
    lambda damage, folder: (
        (folder / f"a.{damage[0]}").write_bytes(
            edited(whole(folder, f"video.{damage[0]}"), damage[1])
        )
        and None
    ),
    lambda damage: [["tokenize", f"a.{damage[0]}"]],
)


def _write_tar(damage: Any, folder: Path) -> None:
    how, change = damage
    if how == "bytes":
        (folder / "a.tar").write_bytes(edited(whole(folder, "pictures.tar"), change))
    elif how == "gzip":
        (folder / "a.tar.gz").write_bytes(edited(whole(folder, "pictures.tar.gz"), change))
    elif how == "bomb":
        member = tarfile.TarInfo("0.png")
        member.size = 1 << 29
        data = member.tobuf() + bytes(1 << 20)
        with gzip.open(folder / "a.tar.gz", "wb", compresslevel=1) as file:
            file.write(data)
            for _ in range(511):
                file.write(bytes(1 << 20))
    else:
        rng = random.Random(str(change))
        with tarfile.open(folder / "a.tar", "w", format=tarfile.PAX_FORMAT) as tar:
            for number in range(3):
                name, headers, kind, json_text = change
                member = tarfile.TarInfo(name.format(number))
                data = whole(folder, "picture.png")
                member.size = len(data)
                member.pax_headers = dict(headers)
                member.type = kind
                member.mtime = rng.choice([0, 1, 2**40])
                tar.addfile(member, io.BytesIO(data))
                beside = tarfile.TarInfo(f"{number}.json")
                beside.size = len(json_text)
                tar.addfile(beside, io.BytesIO(json_text))


TARS = Subject(
    "tars",
    st.one_of(
        st.tuples(st.just("bytes"), edits()),
        st.tuples(st.just("gzip"), edits()),
        st.tuples(
            st.just("members"),
            st.tuples(
                st.sampled_from(
                    [
                        "{}.png",
                        "a/../{}.png",
                        "/{}.png",
                        "caf\udce9{}.png",
                        "{}" + "a" * 300 + ".png",
                    ]
                    + ["{}.a.b.png", ".png", "{}", "same.png", "\u2028{}.png", "__MACOSX/._{}.png"]
                ),
                st.dictionaries(
                    st.sampled_from(["size", "path", "mtime", "uid", "GNU.sparse.major"])
                    | st.sampled_from(["GNU.sparse.size", "GNU.sparse.realsize", "linkpath"]),
                    st.sampled_from(["-1", "x", "1e400", "9" * 400, "", "é", "nan", "1"]),
                    max_size=2,
                ),
                st.sampled_from(
                    [tarfile.REGTYPE, tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.DIRTYPE]
                    + [tarfile.GNUTYPE_SPARSE, tarfile.FIFOTYPE, b"Z"]
                ),
                st.sampled_from(
                    [b"{}", b"[" * 50_000, b'{"caption": "\\ud800"}', b"\xff", b'{"caption": 7}']
                ),
            ),
        ),
        st.tuples(st.just("bomb"), st.none()),
    ),
    _write_tar,
    lambda damage: [
        ["tokenize", "a.tar.gz" if damage[0] in ("gzip", "bomb") else "a.tar", "-o", "out"]
    ],
)


def _write_table(damage: Any, folder: Path) -> None:
    import pyarrow as pa
    import pyarrow.parquet as pq

    how, change = damage
    path = folder.parent / "whole" / "pictures.parquet"
    if how == "bytes":
        (folder / "a.parquet").write_bytes(edited(path.read_bytes(), change))
        return
    picture = whole(folder, "picture.png")
    kinds: dict[str, Callable[[], Any]] = {
        "path as bytes": lambda: pa.array([b"../whole/picture.png"] * 4),
        "path as numbers": lambda: pa.array([1, 2, 3, 4]),
        "no UTF-8": lambda: pa.array([b"\xff.png"] * 4).cast(pa.binary()).view(pa.string()),
        "times": lambda: pa.array([2**62] * 4, pa.timestamp("us")),
        "nulls": lambda: pa.nulls(4),
        "lists": lambda: pa.array([[picture], [], None, [picture, b""]]),
        "struct": lambda: pa.array([{"bytes": None, "path": "nope.png"}] * 4),
        "struct of numbers": lambda: pa.array([{"bytes": 1, "path": 2}] * 4),
        "base64": lambda: pa.array([base64.b64encode(picture).decode()] * 4),
        "url": lambda: pa.array(["http://127.0.0.1:9/a.png"] * 4),
    }
    column, kind = change
    columns = {"image": pa.array([picture] * 4), "text": pa.array(["words"] * 4)}
    columns["extra"] = pa.array([2**61] * 4, pa.timestamp("us"))
    columns[column] = kinds[kind]()
    pq.write_table(pa.table(columns), folder / "a.parquet")


TABLES = Subject(
    "tables of pictures",
    st.one_of(
        st.tuples(st.just("bytes"), edits()),
        st.tuples(
            st.just("columns"),
            st.tuples(
                st.sampled_from(["image", "text", "extra"]),
                st.sampled_from(
                    ["path as bytes", "path as numbers", "no UTF-8", "times", "nulls", "lists"]
                    + ["struct", "struct of numbers", "base64", "url"]
                ),
            ),
        ),
    ),
    _write_table,
    lambda damage: [["tokenize", "a.parquet", "-o", "out"]],
)

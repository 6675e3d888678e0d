"""`seed` in processes forked from one that has imported everything, with limits, and with faults at
the n-th file-system call.

The parent computes nothing: threads of torch and Arrow do not outlive a fork.
"""

from __future__ import annotations

import contextlib
import errno
import importlib
import os
import resource
import signal
import sys
import time
import traceback
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, NoReturn

ALLOWED = {0, 2, 3, 4, 5, 130, 141}
MAX_SECONDS = 30.0
MAX_BYTES = 2 << 30
_WRITES = os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_APPEND
_CALLS = {"os.rename", "os.remove", "os.mkdir", "os.rmdir", "os.truncate", "os.link", "os.symlink"}
_PRELOADED = [
    "seedcli.cli.main",
    "seedcli.workflows.tokenize.run",
    "seedcli.workflows.detokenize.run",
    "seedcli.workflows.documents.build",
    "seedcli.workflows.documents.inspect",
    "seedcli.workflows.chat.seed_chat",
    "seedcli.models.weights.tensors",
    "seedcli.models.drawing.unclip",
    "seedcli.models.language.generate",
    "diffusers.pipelines.stable_diffusion.pipeline_stable_unclip_img2img",
    "transformers.models.llama.modeling_llama",
    "transformers.models.clip.modeling_clip",
    "transformers.models.clip.tokenization_clip",
    "pyarrow.parquet",
    "datasets",
    "seedcli.workflows.evaluate.vqa",
    "seedcli.workflows.train.pretrain",
    "seedcli.training.phase",
    "seedcli.training.stages.codebook",
    "seedcli.data.mixtures.documents",
]

Fault = Literal["kill", "interrupt", "full"]


@dataclass(frozen=True)
class Ended:
    """How a command ended: exit code (negative for a signal), what it said, what it took, and how
    many file-system calls that write it made.
    """

    arguments: list[str]
    code: int
    stdout: str
    stderr: str
    elapsed_s: float
    memory_bytes: int
    calls: int

    def faults(self, *, killed: bool = False) -> list[str]:
        """What the rule forbids."""
        found = []
        if self.code not in ALLOWED and not (killed and self.code == -signal.SIGKILL):
            found.append(f"exit code {self.code}")
        if "Traceback (most recent call last)" in self.stderr:
            found.append(self.stderr.strip().splitlines()[-3][:200])
        if self.elapsed_s > MAX_SECONDS:
            found.append(f"{self.elapsed_s:.0f} s")
        if self.memory_bytes > MAX_BYTES:
            found.append(f"{self.memory_bytes / 1e9:.1f} GB")
        return found


def preload() -> None:
    """Imports what commands need, once."""
    os.environ.update(OMP_NUM_THREADS="1", HF_HUB_OFFLINE="1", TOKENIZERS_PARALLELISM="false")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for name in _PRELOADED:
            importlib.import_module(name)


def in_child(work: Callable[[], None], folder: Path) -> None:
    """Does work that uses threads, such as writing parquet, in a process of its own."""
    pid = os.fork()
    if pid == 0:
        try:
            work()
        except BaseException:
            (folder / "preparation").write_text(traceback.format_exc())
            os._exit(1)
        os._exit(0)
    _, status = os.waitpid(pid, 0)
    if status:
        raise RuntimeError((folder / "preparation").read_text())


def seed(
    folder: Path,
    *arguments: str | Path,
    stdin: bytes = b"",
    fault: Fault | None = None,
    at: int = 0,
    file_bytes: int | None = None,
    environment: dict[str, str] | None = None,
) -> Ended:
    """`seed ARGUMENTS` in `folder`.

    Args:
        folder: Where it runs.
        arguments: Of the command line.
        stdin: What it reads.
        fault: What happens at its `at`-th call that writes: SIGKILL, Ctrl-C, or a full disk.
        at: From 1.
        file_bytes: No file may be larger, as on a disk that is nearly full.
        environment: More of it.
    """
    said = folder.parent / f"{folder.name}.said"
    said.mkdir(exist_ok=True)
    (said / "stdin").write_bytes(stdin)
    (said / "calls").write_text("0")
    started = time.monotonic()
    pid = os.fork()
    if pid == 0:
        _be_seed(folder, said, [str(one) for one in arguments], fault, at, file_bytes, environment)
    status, usage = _wait(pid, started)
    return Ended(
        arguments=[str(one) for one in arguments],
        code=os.waitstatus_to_exitcode(status),
        stdout=(said / "stdout").read_text(errors="backslashreplace"),
        stderr=(said / "stderr").read_text(errors="backslashreplace"),
        elapsed_s=time.monotonic() - started,
        memory_bytes=usage.ru_maxrss * 1024,
        calls=int((said / "calls").read_text() or "0"),
    )


def _wait(pid: int, started: float) -> tuple[int, Any]:
    pause = 0.002
    while True:
        found, status, usage = os.wait4(pid, os.WNOHANG)
        if found:
            return status, usage
        if time.monotonic() - started > 2 * MAX_SECONDS:
            os.kill(pid, signal.SIGKILL)
        time.sleep(pause)
        pause = min(2 * pause, 0.05)


def _be_seed(
    folder: Path,
    said: Path,
    arguments: list[str],
    fault: Fault | None,
    at: int,
    file_bytes: int | None,
    environment: dict[str, str] | None,
) -> NoReturn:
    code = 1
    try:
        for number, name, flags in (
            (0, "stdin", os.O_RDONLY),
            (1, "stdout", os.O_WRONLY | os.O_CREAT | os.O_TRUNC),
            (2, "stderr", os.O_WRONLY | os.O_CREAT | os.O_TRUNC),
        ):
            opened = os.open(said / name, flags)
            os.dup2(opened, number)
            os.close(opened)
        for number, name in enumerate(("stdin", "stdout", "stderr")):
            mode = "r" if number == 0 else "w"
            setattr(sys, name, open(number, mode, encoding="utf-8", closefd=False))  # noqa: SIM115
        os.chdir(folder)
        cache = folder.parent / "cache"
        os.environ.update({"HF_HOME": str(cache), "XDG_CACHE_HOME": str(cache)})
        os.environ.update(environment or {})
        in_use = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
        most = in_use + 3 * MAX_BYTES  # address space, of which much is never touched
        resource.setrlimit(resource.RLIMIT_AS, (most, most))
        sys.argv = ["seed", *arguments]
        if file_bytes is not None:
            resource.setrlimit(resource.RLIMIT_FSIZE, (file_bytes, file_bytes))
        _arm(said, fault, at)
        from seedcli.cli.main import main

        main()
        code = 0
    except SystemExit as end:
        code = end.code if isinstance(end.code, int) else int(end.code is not None)
    except BaseException:
        traceback.print_exc()
    finally:
        # whatever happens here must not unwind the parent's stack in the child
        for stream in (sys.stdout, sys.stderr):
            with contextlib.suppress(OSError, ValueError):
                stream.flush()
        os._exit(code)


def _arm(said: Path, fault: Fault | None, at: int) -> None:
    """Counts the calls that write, and lets the fault happen at one of them."""
    me, count = os.getpid(), 0
    tally = os.open(said / "calls", os.O_WRONLY)
    fsync = os.fsync

    def happen(path: Any, *, frees: bool = False) -> None:
        nonlocal count
        if os.getpid() != me or str(path).startswith(("/dev/", "/proc/")):
            return
        count += 1
        os.pwrite(tally, str(count).encode(), 0)
        if count != at or fault is None:
            return
        match fault:
            case "kill":
                os.kill(me, signal.SIGKILL)
            case "interrupt":
                raise KeyboardInterrupt
            case "full" if not frees:
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    def watch(event: str, arguments: tuple[Any, ...]) -> None:
        if (
            event == "open" and arguments[2] & _WRITES and isinstance(arguments[0], str)
        ) or event in _CALLS:
            happen(arguments[0], frees=event in ("os.remove", "os.rmdir"))

    def sync(descriptor: int) -> None:
        happen("")
        fsync(descriptor)

    os.fsync = sync
    sys.addaudithook(watch)

"""Folders that appear whole or not at all, and never take the place of anything but their own kind; and what files hold."""

import errno
import fcntl
import hashlib
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from plcp.base import DataError


@contextmanager
def replacing(out: Path, mark: str) -> Iterator[Path]:
    """A new folder to write into, which becomes `out` when the block ends well; an error leaves `out` as it was.

    An earlier folder is replaced only if it holds the file `mark`, which every folder of this kind does. Two writers of one place
    take turns. Raises DataError where something else stands there.
    """
    out = Path(out).resolve()
    if out.exists() and not (out / mark).is_file() and not (out.is_dir() and not any(out.iterdir())):
        raise DataError(f"{out} exists and holds no {mark}, so it was not written by this command; give another folder or remove it first")
    out.parent.mkdir(parents=True, exist_ok=True)
    with alone(out.parent):
        aside, old = (out.with_name(f".{out.name}.{state}") for state in ("writing", "old"))
        for rest in (aside, old):  # of an attempt that was killed
            shutil.rmtree(rest, ignore_errors=True)
        aside.mkdir()
        try:
            yield aside
        except BaseException:
            shutil.rmtree(aside, ignore_errors=True)
            raise
        if out.exists():
            out.replace(old)
        aside.replace(out)
        shutil.rmtree(old, ignore_errors=True)


@contextmanager
def alone(folder: Path) -> Iterator[None]:
    """Wait until no other process is in such a block for this folder. The lock goes with the process, however it ends."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)


def sync(path: Path) -> None:
    """Have a file's content, or a folder's names, on disk, so that no power cut takes them any more."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def sha256(path: Path) -> str:
    """Of a file's content, in hex."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def full(error: BaseException) -> bool:
    """Polars' errors and numpy's carry no number, but the system's words or its number in theirs."""
    said = str(error)
    codes = (errno.ENOSPC, errno.EDQUOT)
    told = any(f"os error {code})" in said or os.strerror(code) in said for code in codes) or " requested and " in said
    return isinstance(error, OSError) and (error.errno in codes or told)

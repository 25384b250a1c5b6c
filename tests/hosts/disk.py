"""A small disk under a folder, and what fills it; mounted in the calling thread's own view of the files, see `Loop`.

Knows nothing of who writes there.
"""

import contextlib
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

from tests.hosts.namespace import Refused

DISK_MB = 224
"""etcd keeps two segments of its log, 64 MB each, and its database beside them."""
PIECE = bytes(2**16)


@contextlib.contextmanager
def small_disk(folder: Path) -> Iterator[None]:
    """Have the files of a folder on a small disk while the context is open; nobody may use them as it opens or closes.

    Raises:
        Refused: nothing can be mounted here.
    """
    beside = folder.with_name(f"{folder.name}.beside")
    shutil.copytree(folder, beside)
    _run("mount", "-t", "tmpfs", "-o", f"size={DISK_MB}m", "none", str(folder))
    try:
        shutil.copytree(beside, folder, dirs_exist_ok=True)
        shutil.rmtree(beside)
        yield
        shutil.copytree(folder, beside)
    finally:
        _run("umount", "--lazy", str(folder))  # somebody may have it open still, if something went wrong
    shutil.rmtree(folder)
    beside.rename(folder)


@contextlib.contextmanager
def full(folder: Path) -> Iterator[None]:
    """Leave no room on the disk of a folder while the context is open."""
    ballast = folder / "ballast"
    try:
        with contextlib.suppress(OSError), ballast.open("wb", buffering=0) as file:
            while True:
                file.write(PIECE)
        yield
    finally:
        ballast.unlink(missing_ok=True)


def _run(*command: str) -> None:
    try:
        ended = subprocess.run(command, capture_output=True, text=True, check=False)
    except OSError as error:
        raise Refused(f"{command[0]}: {error}") from error
    if ended.returncode:
        raise Refused(ended.stderr.strip())

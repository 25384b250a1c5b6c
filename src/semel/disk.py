"""Brings files, and the names of files, to the disk, so that they outlive a power failure."""

import os
from pathlib import Path


def sync(path: Path) -> None:
    """Return once what was written to a file, or the names in a folder, are on the disk; raises OSError."""
    opened = os.open(path, os.O_RDONLY)
    try:
        os.fsync(opened)
    finally:
        os.close(opened)

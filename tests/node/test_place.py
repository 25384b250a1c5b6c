"""A name belongs to one process at a time, and a node without a name takes the first free one."""

import subprocess
from contextlib import suppress
from pathlib import Path

import pytest

from semel.errors import NameTaken, ReplicaError, UsageError
from semel.node.place import take_place


def test_a_name_is_taken_once_and_free_again_after_leaving(tmp_path: Path) -> None:
    place = take_place(tmp_path, "n1")
    with pytest.raises(NameTaken, match="n1"):
        take_place(tmp_path, "n1")
    place.leave()
    take_place(tmp_path, "n1").leave()


def test_nodes_without_a_name_get_the_first_free_numbers(tmp_path: Path) -> None:
    first, second = take_place(tmp_path, None), take_place(tmp_path, None)
    assert (first.name, second.name) == ("node-1", "node-2")
    first.leave()
    third = take_place(tmp_path, None)
    assert third.name == "node-1"
    second.leave()
    third.leave()


def test_without_a_home_the_place_is_temporary() -> None:
    place = take_place(None, "n1")
    assert place.folder.is_dir()
    place.leave()
    assert not place.folder.exists()


@pytest.mark.parametrize("name", ["", "a/b", "..", "-x", "n 1", "x" * 65])
def test_a_name_that_is_no_file_name_is_refused(tmp_path: Path, name: str) -> None:
    with pytest.raises(UsageError, match="cannot be a node's name"):
        take_place(tmp_path, name)


def test_a_home_that_is_a_file_is_a_clear_error(tmp_path: Path) -> None:
    (tmp_path / "home").write_text("")
    with pytest.raises(ReplicaError, match="cannot be written"):
        take_place(tmp_path / "home", "n1")


def test_a_full_disk_is_a_clear_error(tmp_path: Path) -> None:
    disk = tmp_path / "disk"
    disk.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=16k", "none", disk], stderr=subprocess.PIPE, text=True, check=False
    )
    if mounted.returncode:
        pytest.skip(f"a full disk needs a disk of its own: {mounted.stderr.strip()}")
    try:
        with (disk / "ballast").open("wb", buffering=0) as ballast, suppress(OSError):
            while True:
                ballast.write(b"x" * 4096)
        with pytest.raises(ReplicaError, match="cannot be written: No space left"):
            take_place(disk / "nodes", "n1")
    finally:
        subprocess.run(["umount", "--lazy", disk], check=True)

"""Which etcd is taken, which is refused, and what is said where there is none."""

import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from semel.errors import EtcdMissing
from semel.local.etcd import find_etcd

Install = Callable[..., Path]


@pytest.fixture
def install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Install:
    """Put a program that says it is an etcd into a folder that is beside this Python, or on the PATH."""
    monkeypatch.setattr(sys, "executable", str(tmp_path / "beside" / "python"))
    monkeypatch.setenv("PATH", str(tmp_path / "path"))

    def put(says: str, *, place: str = "path") -> Path:
        program = tmp_path / place / "etcd"
        program.parent.mkdir(exist_ok=True)
        program.write_text(f"#!/bin/sh\necho '{says}'\n")
        program.chmod(0o755)
        return program

    return put


@pytest.mark.parametrize("version", ["3.4.0", "3.4.23", "3.5.3", "3.5.21", "3.6.4"])
def test_a_version_that_can_be_trusted_is_taken(install: Install, version: str) -> None:
    program = install(f"etcd Version: {version}")
    assert find_etcd() == program


def test_the_one_beside_this_python_comes_first(install: Install) -> None:
    install("etcd Version: 3.3.0")
    beside = install("etcd Version: 3.4.23", place="beside")
    assert find_etcd() == beside


@pytest.mark.parametrize(
    ("version", "why"),
    [("3.3.27", "too old"), ("2.3.8", "too old"), ("3.5.0", "corrupt"), ("3.5.1", "corrupt"), ("3.5.2", "corrupt")],
)
def test_a_version_that_cannot_be_trusted_is_refused(install: Install, version: str, why: str) -> None:
    install(f"etcd Version: {version}")
    with pytest.raises(EtcdMissing, match=why) as refused:
        find_etcd()
    assert version in str(refused.value)
    assert "sudo apt-get install etcd-server" in str(refused.value)


def test_where_there_is_none_the_command_that_installs_it_is_said(install: Install) -> None:
    with pytest.raises(EtcdMissing, match="sudo apt-get install etcd-server"):
        find_etcd()


def test_a_program_of_that_name_that_is_no_etcd_is_refused(install: Install) -> None:
    install("hello")
    with pytest.raises(EtcdMissing, match="it is no etcd"):
        find_etcd()

"""The data directory: one supervisor at a time, what is remembered, and what is refused."""

from pathlib import Path

import pytest

from semel.errors import DataForeign, DataInUse
from semel.local.home import FORMAT, Home, Plan, Ports

PLAN = Plan(
    format=FORMAT,
    host="127.0.0.1",
    token="t",
    members={"etcd-1": Ports(12379, 12380)},
    nodes={"node-1": 8420},
    founded=True,
)


def test_a_plan_is_remembered(tmp_path: Path) -> None:
    with Home(tmp_path / "new" / "folder") as home:
        assert home.plan() is None
        home.remember(PLAN)
    with Home(tmp_path / "new" / "folder") as home:
        assert home.plan() == PLAN


def test_a_second_one_is_told_who_has_it(tmp_path: Path) -> None:
    with Home(tmp_path) as home:
        home.remember(PLAN)
        with pytest.raises(DataInUse, match=r"another `semel up` \(process \d+\) runs on"), Home(tmp_path):
            raise AssertionError("two have it")
    with Home(tmp_path) as home:
        assert home.plan() == PLAN


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("{", "cannot be read"),
        ("{}", "cannot be read"),
        ('{"format": 2, "host": "", "token": "", "members": {}, "nodes": {}, "founded": true}', "another version"),
    ],
)
def test_a_plan_that_cannot_be_read_is_left_alone(tmp_path: Path, text: str, said: str) -> None:
    (tmp_path / "cluster.json").write_text(text)
    with Home(tmp_path) as home, pytest.raises(DataForeign, match=said):
        home.plan()
    assert (tmp_path / "cluster.json").read_text() == text


def test_a_folder_that_holds_something_else_is_refused(tmp_path: Path) -> None:
    (tmp_path / "photos").mkdir()
    with Home(tmp_path) as home, pytest.raises(DataForeign, match="'photos'"):
        home.plan()


def test_a_folder_that_cannot_be_made_is_refused(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(DataForeign, match="--data"), Home(tmp_path / "file" / "folder"):
        raise AssertionError

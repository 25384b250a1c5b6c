"""`semel backup` and `semel restore` with real nodes: the way back from nothing, and what is refused."""

import shutil
from pathlib import Path

import pytest

from tests.cli.conftest import Semel, Serve

SERVER = """
import semel

@semel.tool
def add(a: int, b: int) -> int:
    return a + b
"""


def test_a_cluster_that_was_lost_is_brought_back_from_a_backup(serve: Serve, semel: Semel, tmp_path: Path) -> None:
    (tmp_path / "server.py").write_text(SERVER)
    log = f"sqlite://{tmp_path}/log.db"
    node = serve("server.py", "--log", log, "--node", "first")
    assert semel("call", "add", '{"a": 1, "b": 2}', "--key", "k", "--url", node.url).code == 0
    made = semel("backup", str(tmp_path / "b.db"), "--url", node.url)
    assert (made.code, made.err) == (0, "")
    assert "cluster semel, up to position 4, 1 calls" in made.out
    again = semel("backup", str(tmp_path / "b.db"), "--url", node.url)
    assert (again.code, "exists" in again.err) == (2, True)
    assert semel("backup", str(tmp_path / "b.db"), "--overwrite", "--url", node.url).code == 0
    node.process.terminate()
    assert node.end().code == 0
    for file in tmp_path.glob("log.db*"):
        shutil.rmtree(file) if file.is_dir() else file.unlink()

    restored = semel("restore", str(tmp_path / "b.db"), "--log", log, "--node", "second")
    assert (restored.code, restored.out) == (0, "the log goes on after position 4, with 1 calls of the cluster semel\n")
    assert "start the node second" in restored.err
    node = serve("server.py", "--log", log, "--node", "second")
    replayed = semel("call", "add", '{"a": 1, "b": 2}', "--key", "k", "--url", node.url, "--json")
    assert (replayed.code, '"replayed": true' in replayed.out) == (0, True)
    other = serve("server.py", "--log", log, "--node", "third")  # it takes a snapshot of the second
    replayed = semel("call", "add", '{"a": 1, "b": 2}', "--key", "k", "--url", other.url, "--json")
    assert (replayed.code, '"replayed": true' in replayed.out) == (0, True)


@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        (["backup", "no folder/b.db"], 2, "no folder"),
        (["backup", "b.db", "--url", "http://127.0.0.1:1"], 4, "Nothing was written"),
        (["restore", "missing.db", "--log", "sqlite:x.db"], 2, "missing.db"),
        (["restore", "text.db", "--log", "sqlite:x.db"], 6, "text.db"),
        (["restore", "text.db", "--log", "memory:"], 2, "outlives no process"),
        (["restore", "text.db"], 2, "--log"),
    ],
)
def test_what_cannot_be_done_is_said(
    semel: Semel, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, arguments: list[str], code: int, said: str
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "text.db").write_text("this is no backup")
    ended = semel(*arguments)
    assert (ended.code, ended.out) == (code, "")
    assert said in ended.err

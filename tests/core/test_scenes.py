"""Every scene plays as it is written; `SEMEL_REWRITE_SCENES=1` writes down how it plays now."""

import os
from pathlib import Path

import pytest

from .script import replay

SCENES = sorted((Path(__file__).parent / "scenes").glob("*.txt"))


@pytest.mark.parametrize("path", SCENES, ids=lambda path: path.stem)
def test_a_scene_plays_as_it_is_written(path: Path) -> None:
    written = path.read_text(encoding="utf-8")
    played = replay(written)
    if os.environ.get("SEMEL_REWRITE_SCENES") == "1":
        path.write_text(played, encoding="utf-8")
    else:
        assert played.splitlines() == written.splitlines()


@pytest.mark.parametrize("path", SCENES, ids=lambda path: path.stem)
def test_a_scene_begins_with_what_it_shows(path: Path) -> None:
    assert path.read_text(encoding="utf-8").startswith("# ")

"""What the tests of the door share."""

import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from textwrap import dedent

import pytest

Write = Callable[..., Path]


@pytest.fixture
def write(tmp_path: Path) -> Iterator[Write]:
    """Write a file of the user's; what importing it did to this process is undone in the end."""
    path, modules = list(sys.path), set(sys.modules)

    def write_file(content: str, name: str = "served.py") -> Path:
        file = tmp_path / name
        file.write_text(dedent(content))
        return file

    yield write_file
    sys.path[:] = path
    for name in set(sys.modules) - modules:
        if str(tmp_path) in str(getattr(sys.modules[name], "__file__", "")):
            del sys.modules[name]

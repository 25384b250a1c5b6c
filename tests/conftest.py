"""What all tests share: async tests run on asyncio, and processes that run tests side by side share the suite out."""

from collections.abc import Generator
from typing import Any

import pytest
from xdist.scheduler import LoadFileScheduling

TOGETHER = ("hosts", "real")
"""Folders whose tests share what is dear to set up, and stay in one process; elsewhere those of a file do."""
LAST = ("audit", "core", "deploy", "docs", "gateway", "local", "log", "node", "peers")
"""Folders with short files, which come last, so that no process is left with a long one when the others are done."""


class Shares(LoadFileScheduling):
    """Gives each process the next share of tests as soon as it has no more than two left."""

    def _split_scope(self, nodeid: str) -> str:
        folder = folder_of(nodeid)
        return folder if folder in TOGETHER else super()._split_scope(nodeid)


def folder_of(nodeid: str) -> str:
    """Return the folder in tests/ that a test is in."""
    return nodeid.removeprefix("tests/").partition("/")[0]


def pytest_xdist_make_scheduler(config: pytest.Config, log: object) -> Shares:
    config.option.loadscopereorder = False  # a share with few tests may well be the longest
    return Shares(config, log)


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    if hasattr(config, "workerinput"):
        items.sort(key=lambda item: folder_of(item.nodeid) in LAST)


@pytest.hookimpl(wrapper=True)
def pytest_report_to_serializable() -> Generator[None, Any, Any]:
    """Spell out what is no text in a report, such as the half of a character in a log line: it could not be sent."""
    return spelled_out((yield))


def spelled_out(found: Any) -> Any:
    match found:
        case str():
            return found.encode("utf-8", "backslashreplace").decode("utf-8")
        case dict():
            return {key: spelled_out(value) for key, value in found.items()}
        case list() | tuple():
            return [spelled_out(value) for value in found]
        case _:
            return found


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Say what tests have recorded of themselves."""
    for report in terminalreporter.getreports("passed"):
        for _, figures in report.user_properties:
            terminalreporter.line(f"{report.nodeid}: {figures}")


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"

"""What all tests share: async tests run on asyncio, and processes that run tests side by side share the suite out."""

import signal
from collections.abc import Generator
from itertools import chain, zip_longest
from typing import Any

import pytest
from xdist.scheduler import LoadFileScheduling

TOGETHER = ("hosts", "real")
"""Folders whose tests share what is dear to set up, and stay in one process; elsewhere those of a file do."""
LONG = ("hosts", "conformance", "real", "processes", "sim", "chaos", "cli")
"""Folders with shares that are begun early, so that no process is left with one when the others are done."""
WAITING = ("gateway", "local", "log", "node")
"""Folders whose tests wait more than they compute, and run beside those that compute."""


class Shares(LoadFileScheduling):
    """Gives each process the next share of tests as soon as it has no more than two tests left."""

    def _split_scope(self, nodeid: str) -> str:
        return share_of(nodeid)


def pytest_configure() -> None:
    """Let Ctrl-C mean what it does, for the processes of tests, too: a shell's job in the background ignores it."""
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)


def folder_of(nodeid: str) -> str:
    """Return the folder in tests/ that a test is in."""
    return nodeid.removeprefix("tests/").partition("/")[0]


def share_of(nodeid: str) -> str:
    """Return what a test shares with all others that the same process is to run."""
    folder = folder_of(nodeid)
    return folder if folder in TOGETHER else nodeid.partition("::")[0]


def pytest_xdist_make_scheduler(config: pytest.Config, log: object) -> Shares:
    config.option.loadscopereorder = False  # the order is that of the tests, as below
    return Shares(config, log)


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Put the long shares first, and let those that compute and those that wait take turns.

    The core has to be covered by its own tests; the others, which tracing slows to a half or less, are not traced.
    """
    for item in items:
        if folder_of(item.nodeid) != "core":
            item.add_marker("no_cover")
    if hasattr(config, "workerinput"):
        shares: dict[str, list[pytest.Item]] = {}
        for item in sorted(items, key=lambda item: rank(folder_of(item.nodeid))):
            shares.setdefault(share_of(item.nodeid), []).append(item)
        waiting = [name for name in shares if folder_of(name) in WAITING]
        computing = [name for name in shares if folder_of(name) not in WAITING]
        turns = chain.from_iterable(zip_longest(computing, waiting))
        items[:] = [item for name in turns if name for item in shares[name]]


def rank(folder: str) -> int:
    """Return which place a folder has among those that are long."""
    return LONG.index(folder) if folder in LONG else len(LONG)


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

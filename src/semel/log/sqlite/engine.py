"""`SqliteLog`: the log's file as asyncio sees it; it knows threads and wake-ups, and no SQL.

The blocking work is done by threads of the engine's own, one for each connection: an fsync stalls no event loop, and
a read, a write and a pulse never wait for one another.
"""

import asyncio
import threading
from collections.abc import AsyncGenerator, Callable, Mapping, Sequence
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from typing import Self, TypeVar, TypeVarTuple

from semel.crossing import Worker
from semel.errors import LogError, LogUnavailable
from semel.log.limits import BATCH_ENTRIES_MAX, check_beginning, check_proposal
from semel.log.protocol import Batch
from semel.log.sqlite.appender import Appender
from semel.log.sqlite.faults import faults_told
from semel.log.sqlite.opening import check_writable, make_folder, refuse_foreign
from semel.log.sqlite.pulses import Pulses
from semel.log.sqlite.reader import Reader
from semel.log.sqlite.watch import Watch

_OWN_APPENDS_MAX = 64
_OWN_BYTES_MAX = 64 * 1024
"""So many of the last appends are given back without being read, each of at most so many bytes: a node that appends
one small batch after the other would read each of them again, on another thread, only to skip it."""

_OUT_OF_REACH_PAUSE_S = 0.05  # between the attempts to read a log that is locked or out of reach

_Result = TypeVar("_Result")
_Arguments = TypeVarTuple("_Arguments")


class SqliteLog:
    """A `Log` in one SQLite file, shared by the processes of one machine; `open` makes it."""

    copies = 0
    """The file holds the whole history: a disk has room for it, and a lost replica is made anew from it."""

    local = True
    """SQLite's locks hold between the processes of one machine, and not over a network's file system."""

    def __init__(self, path: Path, appender: Appender, reader: Reader, watch: Watch) -> None:
        self._path = path
        self._appender = appender
        self._reader = reader
        self._watch = watch
        self._pulses = Pulses(path.with_name(f"{path.name}-pulses"))
        self._writing = Worker("semel-log-write")
        self._reading = Worker("semel-log-read")
        self._pulsing = Worker("semel-log-pulse")
        self._own: dict[int, Sequence[bytes]] = {}
        """The entries of our last appends, by the position that they stand after."""
        self._closed = False

    @classmethod
    async def open(cls, path: Path) -> Self:
        """Open the log in the file `path`, made with its folders if there is none.

        Raises:
            LogForeign: something else is there; it was not touched.
            LogReadOnly: the file or its folder cannot be written.
            LogNewer: a newer semel wrote it.
            LogDamaged: it is damaged.
            LogUnavailable: locked, full or out of reach for now.
        """
        return await asyncio.to_thread(cls._open, path)

    @classmethod
    def _open(cls, path: Path) -> Self:
        with faults_told(path), ExitStack() as undo:
            path = path.expanduser().resolve()  # one lock for one file, whatever links lead to it
            refuse_foreign(path)
            make_folder(path.parent)
            check_writable(path)
            appender = Appender(path)
            undo.callback(appender.close)
            reader = Reader(path)
            undo.callback(reader.close)
            watch = Watch(path)
            undo.pop_all()
        return cls(path, appender, reader, watch)

    @property
    def home(self) -> Path:
        """The folder beside the log where nodes keep their replicas; it may not exist yet."""
        return self._path.with_name(f"{self._path.name}.nodes")

    def append(self, after: int, entries: Sequence[bytes]) -> asyncio.Future[int]:
        """Begin to commit `entries` after the position `after`; gives the last position written, once it is on disk."""
        check_proposal(after, entries)
        appending = self._run(self._writing, self._appender.append, after, entries)
        self._watch.begin_writing()
        appending.add_done_callback(partial(self._appended, after, entries))
        return appending

    def _appended(self, after: int, entries: Sequence[bytes], appending: asyncio.Future[int]) -> None:
        last = None if appending.cancelled() or appending.exception() else appending.result()
        if last is not None:
            self._remember(after, entries)
        self._watch.end_writing(last)
        if self._appender.checkpoint_due and not self._closed:
            # After the answer, not before it: the caller need not wait for what it does not need.
            self._writing.run(self._appender.checkpoint)

    async def follow(self, after: int) -> AsyncGenerator[Batch, None]:
        """Yield every entry after the position `after`, in order, waiting for new ones for ever."""
        read_all = False  # as far as can be known without looking
        while True:
            self._check_open()
            if (own := self._own.get(after)) is not None:
                yield Batch(after + 1, own)
                after += len(own)
                read_all = True
            elif read_all:
                await self._watch.moved(after)
                read_all = False
            else:
                try:
                    batch = await self._run(self._reading, self._reader.read, after)
                except LogUnavailable:
                    await asyncio.sleep(_OUT_OF_REACH_PAUSE_S)
                    continue
                if batch is not None:
                    yield batch
                    after = batch.last
                read_all = batch is None

    def _remember(self, after: int, entries: Sequence[bytes]) -> None:
        """Keep what was just committed for who follows; what stands in the log never changes."""
        if len(entries) > BATCH_ENTRIES_MAX or sum(map(len, entries)) > _OWN_BYTES_MAX:
            return
        self._own[after] = list(entries)
        if len(self._own) > _OWN_APPENDS_MAX:
            del self._own[next(iter(self._own))]

    async def tail(self) -> int:
        """Return the last committed position, 0 for an empty log."""
        return await self._run(self._reading, self._reader.tail)

    async def first(self) -> bytes | None:
        """Return the entry at position 1, None for an empty log."""
        return await self._run(self._reading, self._reader.first)

    async def trim(self, before: int) -> None:
        """Forget every entry below the position `before`, but never the last one."""
        while await self._run(self._writing, self._appender.trim, before):
            pass
        self._own.clear()

    async def begin_after(self, first: bytes, after: int, entry: bytes) -> None:
        """Make an empty log go on with `entry` after the position `after`."""
        check_beginning(after)
        self._watch.begin_writing()
        try:
            await self._run(self._writing, self._appender.begin_after, first, after, entry)
        finally:
            self._watch.end_writing(None)

    async def pulse(self, node: str, beat: bytes) -> None:
        """Show `beat` as the newest sign of life of `node`; it may be lost."""
        await self._run(self._pulsing, self._pulses.show, node, beat)

    async def pulses(self) -> Mapping[str, bytes]:
        """Return the newest beat of every node that has pulsed and has not retired."""
        return await self._run(self._pulsing, self._pulses.shown)

    async def retire(self, node: str) -> None:
        """Take back the pulse of `node`."""
        await self._run(self._pulsing, self._pulses.take_back, node)

    async def close(self) -> None:
        """Give back files, threads and connections; whoever still follows gets a `LogError`."""
        if self._closed:
            return
        self._closed = True
        self._watch.close(self._closed_error())
        # All is asked for before anything is awaited: a cancelled close still closes. The writing connection goes
        # last, since only a connection that can write saves the write-ahead file when the last process leaves.
        reader_closed = threading.Event()
        self._reading.run(self._close_reader, reader_closed)
        closing = self._writing.run(self._close_appender, reader_closed)
        for worker in (self._reading, self._writing, self._pulsing):
            worker.end()
        await closing

    def _close_reader(self, closed: threading.Event) -> None:
        try:
            self._reader.close()
        finally:
            closed.set()

    def _close_appender(self, reader_closed: threading.Event) -> None:
        reader_closed.wait()
        self._appender.close()

    def _run(
        self, worker: Worker, work: Callable[[*_Arguments], _Result], *arguments: *_Arguments
    ) -> asyncio.Future[_Result]:
        if not self._closed:
            return worker.run(work, *arguments)
        refused: asyncio.Future[_Result] = asyncio.get_running_loop().create_future()
        refused.set_exception(self._closed_error())
        return refused

    def _check_open(self) -> None:
        if self._closed:
            raise self._closed_error()

    def _closed_error(self) -> LogError:
        return LogError(f"the log {self._path} is closed")

"""`SqliteLog`: the log's file as asyncio sees it; it knows threads and wake-ups, and no SQL.

The blocking work is done by threads of the engine's own, one for each connection: an fsync stalls no event loop, and
a read, a write and a pulse never wait for one another.
"""

import asyncio
from collections.abc import AsyncGenerator, Callable, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path
from typing import Self, TypeVar, TypeVarTuple

from semel.errors import LogError, LogUnavailable
from semel.log.limits import BATCH_ENTRIES_MAX, check_beginning, check_proposal
from semel.log.protocol import Batch
from semel.log.sqlite.appender import Appender
from semel.log.sqlite.faults import faults_told
from semel.log.sqlite.opening import check_writable, make_folder, refuse_foreign
from semel.log.sqlite.pulses import Pulses
from semel.log.sqlite.reader import Reader
from semel.log.sqlite.watch import Version, Watch

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
        self._writing = ThreadPoolExecutor(1, "semel-log-write")
        self._reading = ThreadPoolExecutor(1, "semel-log-read")
        self._pulsing = ThreadPoolExecutor(1, "semel-log-pulse")
        self._own: dict[int, tuple[Sequence[bytes], Version]] = {}
        """The entries of our last appends, by the position that they stand after, and the file's version with them."""
        appender.witness = watch.version_now
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

    async def append(self, after: int, entries: Sequence[bytes]) -> int:
        """Commit `entries` after the position `after`; return the last position written, once it is on disk."""
        check_proposal(after, entries)
        with self._watch.writing():
            last, seen = await self._run(self._writing, self._append, after, entries)
            self._remember(after, entries, seen)
        if self._appender.checkpoint_due and not self._closed:
            # After the answer, not before it: the caller need not wait for what it does not need.
            self._writing.submit(self._appender.checkpoint)
        return last

    async def follow(self, after: int) -> AsyncGenerator[Batch, None]:
        """Yield every entry after the position `after`, in order, waiting for new ones for ever."""
        seen: Version = None
        while True:
            self._check_open()
            if (own := self._own.get(after)) is not None:
                entries, seen = own
                yield Batch(after + 1, entries)
                after += len(entries)
                continue
            if seen is None:
                seen = self._watch.version()  # before the read, so that no commit falls between the two
                try:
                    batch = await self._run(self._reading, self._reader.read, after)
                except LogUnavailable:
                    seen = None
                    await asyncio.sleep(_OUT_OF_REACH_PAUSE_S)
                    continue
                if batch is not None:
                    seen = None
                    after = batch.last
                    yield batch
                    continue
                self._check_open()
            await self._watch.changed(seen)
            seen = None

    def _append(self, after: int, entries: Sequence[bytes]) -> tuple[int, Version]:
        """Append, in the writing thread; return the last position, and the file's version if it is ours."""
        return self._appender.append(after, entries), self._appender.seen

    def _remember(self, after: int, entries: Sequence[bytes], seen: Version) -> None:
        """Keep what was just committed for who follows; what stands in the log never changes."""
        if len(entries) > BATCH_ENTRIES_MAX or sum(map(len, entries)) > _OWN_BYTES_MAX:
            return
        self._own[after] = list(entries), seen
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
        with self._watch.writing():
            await self._run(self._writing, self._appender.begin_after, first, after, entry)

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
        reading_closed = self._reading.submit(self._reader.close)
        writing_closed = self._writing.submit(self._close_appender, reading_closed)
        for thread in (self._reading, self._writing, self._pulsing):
            thread.shutdown(wait=False)
        await asyncio.wrap_future(writing_closed)

    def _close_appender(self, reading_closed: Future[None]) -> None:
        reading_closed.result()
        self._appender.close()

    async def _run(
        self, thread: ThreadPoolExecutor, work: Callable[[*_Arguments], _Result], *arguments: *_Arguments
    ) -> _Result:
        self._check_open()
        return await asyncio.get_running_loop().run_in_executor(thread, work, *arguments)

    def _check_open(self) -> None:
        if self._closed:
            raise self._closed_error()

    def _closed_error(self) -> LogError:
        return LogError(f"the log {self._path} is closed")

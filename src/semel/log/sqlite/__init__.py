"""The embedded default: one SQLite file, shared by several processes of one machine.

Three connections, each for one thing: the appender writes, the reader reads, the watch sees change.
"""

from semel.log.sqlite.engine import SqliteLog

__all__ = ["SqliteLog"]

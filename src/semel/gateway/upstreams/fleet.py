"""The upstream servers of a node: started, replaced and taken away as their list changes, and what they list.

Lives in the toolbox's own loop; only `catalogue` and `remarks`, which are replaced and never changed, are for others.
"""

import asyncio
import contextlib
import logging
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence

from mcp import types

from semel.gateway.upstreams.catalogue import Catalogue, Entry, make_entry
from semel.gateway.upstreams.overrides import EVERY, override_of
from semel.gateway.upstreams.servers import Place, Served
from semel.gateway.upstreams.upstream import Upstream

_log = logging.getLogger(__name__)

FINISH_S = 60.0
"""How long calls under way may take to end once their server is taken out of the list; the default time limit."""


class Fleet:
    """The servers by name. `on_event` is called when something has changed, as it is for an `Upstream`."""

    def __init__(self, on_event: Callable[[str, str], object]) -> None:
        self.catalogue = Catalogue()
        self.offers = types.ServerCapabilities()
        """What all servers together offer."""
        self._on_event = on_event
        self._watched: frozenset[str] = frozenset()
        self._served: Mapping[str, Served] = {}
        self._upstreams: dict[str, Upstream] = {}
        self._coming: dict[str, Upstream] = {}
        """Those that are to take the place of one with the same name, once they are up."""
        self._keepers: dict[Upstream, asyncio.Task[None]] = {}
        self._farewells: set[asyncio.Task[None]] = set()
        self._changed = asyncio.Event()

    async def open(self, served: Mapping[str, Served]) -> None:
        """Start the servers, side by side, and wait until each is up or has failed once.

        Those that fail are tried again; what is wrong with them is in `remarks`.

        Raises:
            UpstreamError: none of them starts.
        """
        self._served = served
        firsts = [self._begin(name, each.place, self._upstreams) for name, each in served.items()]
        await asyncio.wait(firsts)
        self._refresh()
        errors = [error for first in firsts if (error := first.exception())]
        if len(errors) == len(firsts):
            raise errors[0]

    def change(self, served: Mapping[str, Served]) -> None:
        """Serve these from now on: what is not among them ends with its calls, what is the same goes on undisturbed."""
        self._served = served
        for name in self._upstreams.keys() - served.keys():
            self._dismiss(self._upstreams.pop(name))
        for name, each in served.items():
            if name in self._coming and self._coming[name].place != each.place:
                self._dismiss(self._coming.pop(name))
            present = self._upstreams.get(name)
            if present is None or (present.place != each.place and not present.listed):
                if present is not None:
                    self._dismiss(present)
                self._begin(name, each.place, self._upstreams)
            elif present.place != each.place and name not in self._coming:
                self._begin(name, each.place, self._coming)
        for name in self._coming.keys() - served.keys():
            self._dismiss(self._coming.pop(name))
        self._refresh()

    async def find(self, tool: str) -> tuple[Entry, Upstream] | None:
        """Return a tool and its server; one that may be of a server which is not up yet is waited for."""
        while True:
            entry = self.catalogue.get(tool)
            if entry is not None:
                return entry, self._upstreams[entry.server]
            if not self._awaits(tool):
                return None
            await self._changed.wait()

    def may_come(self, tool: str) -> bool:
        """Return whether a tool that is not there may be of a server that is not up yet; in any thread."""
        return self.catalogue.get(tool) is None and bool(self.catalogue.missing)

    def watch(self, uris: frozenset[str]) -> None:
        """Hear of changes of these resources from now on, and of no others."""
        self._watched = uris
        for upstream in self._keepers:
            upstream.watch(uris)

    @property
    def several(self) -> bool:
        """True if names of tools and prompts begin with that of their server."""
        return len(self._served) > 1

    @property
    def upstreams(self) -> Mapping[str, Upstream]:
        """The servers by name, in the order in which they are listed."""
        return self._upstreams

    @property
    def instructions(self) -> str | None:
        """What the server says of itself to models, where there is one server."""
        only = list(self._upstreams.values())
        return only[0].instructions if len(only) == 1 else None

    def remarks(self) -> Sequence[str]:
        """Return what an operator should know of the servers and their lists; in any thread."""
        present, coming = list(self._upstreams.values()), list(self._coming.values())
        replaced = "; until then the one before it is served"
        return [
            *(each.trouble for each in present if each.trouble is not None),
            *(f"{each.trouble}{replaced}" for each in coming if each.trouble is not None),
            *self.catalogue.remarks,
        ]

    async def close(self) -> None:
        """End all servers."""
        ends = [*self._keepers.values(), *self._farewells]
        for end in ends:
            end.cancel()
        await asyncio.gather(*ends, return_exceptions=True)

    def kill(self) -> None:
        """Kill what processes there are; may be called from any thread."""
        for upstream in list(self._keepers):
            upstream.kill()

    def _begin(self, name: str, place: Place, among: dict[str, Upstream]) -> "asyncio.Future[None]":
        first = asyncio.get_running_loop().create_future()
        first.add_done_callback(lambda done: done.exception())  # it is remarked, whether or not somebody waits for it
        upstream = among[name] = Upstream(name, place, self._refresh, self._on_event)
        upstream.watch(self._watched)
        self._keepers[upstream] = asyncio.create_task(upstream.keep(first), name=f"upstream {name}")
        return first

    def _dismiss(self, upstream: Upstream) -> None:
        """End a server once its calls have ended, or have had their time."""
        upstream.dismiss()
        farewell = asyncio.create_task(self._let_end(upstream), name=f"farewell {upstream.name}")
        self._farewells.add(farewell)
        farewell.add_done_callback(self._farewells.discard)

    async def _let_end(self, upstream: Upstream) -> None:
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(upstream.idle(), FINISH_S)
        keeper = self._keepers[upstream]
        keeper.cancel()
        await asyncio.wait([keeper])
        del self._keepers[upstream]
        _log.info("the server %r is not served any more", upstream.name)

    def _awaits(self, tool: str) -> bool:
        return any(not self.several or tool.startswith(f"{name}_") for name in self.catalogue.missing)

    def _refresh(self) -> None:
        """Take over what the servers list now."""
        for name, coming in list(self._coming.items()):
            if coming.listed:
                self._dismiss(self._upstreams[name])
                self._upstreams[name] = self._coming.pop(name)
        before = self.catalogue
        remarks: list[str] = []
        missing = [name for name, each in self._upstreams.items() if not each.listed]
        entries = list(self._entries(remarks))
        self.catalogue = Catalogue(entries, missing=missing, remarks=remarks)
        for remark in self.catalogue.remarks:
            if remark not in before.remarks:
                _log.warning("%s", remark)
        changed, self._changed = self._changed, asyncio.Event()
        changed.set()
        self.offers = _together([each.offers for each in self._upstreams.values()])
        if self.catalogue.definitions != before.definitions:
            self._on_event("tools", "")

    def _entries(self, remarks: list[str]) -> Iterator[Entry]:
        for name, upstream in self._upstreams.items():
            overrides = self._served[name].overrides
            for tool in upstream.tools:
                override = override_of(overrides, str(tool.get("name")))
                try:
                    yield make_entry(name, tool, prefix=f"{name}_" if self.several else "", override=override)
                except (KeyError, TypeError, ValueError, AttributeError, RecursionError) as error:
                    remarks.append(f"the server {name!r} lists a tool that is none: {type(error).__name__}: {error}")
            if upstream.listed:
                remarks.extend(_idle_words(name, self._served[name], upstream))


def _together(offers: Sequence[types.ServerCapabilities]) -> types.ServerCapabilities:
    """Return what several servers offer together."""

    def some(values: Iterable[bool | None]) -> bool | None:
        return True if any(values) else None

    prompts = [each.prompts for each in offers if each.prompts is not None]
    resources = [each.resources for each in offers if each.resources is not None]
    return types.ServerCapabilities(
        tools=types.ToolsCapability(list_changed=True),
        prompts=types.PromptsCapability(list_changed=some(each.list_changed for each in prompts)) if prompts else None,
        resources=types.ResourcesCapability(
            subscribe=some(each.subscribe for each in resources),
            list_changed=some(each.list_changed for each in resources),
        )
        if resources
        else None,
        logging=types.LoggingCapability() if any(each.logging is not None for each in offers) else None,
        completions=types.CompletionsCapability() if any(each.completions is not None for each in offers) else None,
    )


def _idle_words(name: str, served: Served, upstream: Upstream) -> Iterator[str]:
    """Yield what the operator says that comes to nothing, as the server's list stands."""
    there = {str(tool.get("name")) for tool in upstream.tools}
    for tool, override in served.overrides.items():
        if tool != EVERY and tool not in there:
            yield f"mcp.json says something of the tool {tool!r} of the server {name!r}, which has no such tool"
        elif override.reconcile is not None and override.reconcile.tool not in there:
            yield (
                f"mcp.json says that {override.reconcile.tool!r} is to be asked when a call of {tool!r} is lost, and "
                f"the server {name!r} has no such tool"
            )

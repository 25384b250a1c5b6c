"""`semel up`: a cluster on this machine, or this machine's part of one, under one supervisor in the foreground.

Knows people at a terminal; how the processes come up, stay up and go down is known in `semel.local`.
"""

import asyncio
import contextlib
import time
from collections.abc import Coroutine, Sequence
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

import click

from semel.cli.lesson import Lesson
from semel.cli.options import serving_options
from semel.cli.output import styled
from semel.cli.signals import Signals
from semel.errors import UsageError
from semel.local.ensemble import Ensemble, Served
from semel.local.etcd import ELECTION_MS, HEARTBEAT_MS, Tuning, find_etcd
from semel.local.home import Home
from semel.local.joined import ETCD_PORT as JOINED_ETCD_PORT
from semel.local.joined import Joining, make_member
from semel.local.quorum import ETCD_PORT, NODE_PORT, make_quorum
from semel.local.setting import Setting
from semel.local.supervisor import Supervisor
from semel.local.watch import tell_who_leads

ELECTION_HEARTBEATS_MIN = 5
"""etcd refuses to start with less."""
PORT = click.IntRange(1, 65_000)
"""The first of a few ports: those that follow must exist, too."""


class OddCount(click.IntRange):
    """1, 3, 5 or 7: an even number survives no more deaths than the odd one below it."""

    def __init__(self) -> None:
        super().__init__(1, 7)

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> int:
        """Return the number if it is odd."""
        number = int(super().convert(value, param, ctx))
        if number % 2 == 0:
            self.fail(f"{number} members survive no more deaths than {number - 1}: give 1, 3, 5 or 7", param, ctx)
        return number


class Hosts(click.ParamType[tuple[str, ...]]):
    """Machines by address or name, separated by commas."""

    name = "hosts"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> tuple[str, ...]:
        """Return the hosts, each once."""
        hosts = tuple(part.strip().strip("[]") for part in str(value).split(","))
        if not all(hosts) or any(mark in host for host in hosts for mark in "/@? ") or len(set(hosts)) < len(hosts):
            self.fail(f"{value!r} is no list of different hosts, such as 10.0.0.1,10.0.0.2,10.0.0.3", param, ctx)
        if len(hosts) % 2 == 0:
            self.fail(f"{len(hosts)} machines survive no more deaths than {len(hosts) - 1}: give 3 or 5", param, ctx)
        return hosts


@dataclass(frozen=True, slots=True, kw_only=True)
class Options:
    """What is to be started, as the command line says it."""

    target: str
    data: Path | None
    members: int | None
    nodes: int | None
    port: int
    etcd_port: int | None
    heartbeat_ms: int
    election_ms: int
    join: tuple[str, ...] | None
    host: str | None
    replace: bool
    cluster: str
    keys: tuple[str, ...]
    require_key: bool
    drain_s: float
    loop: str
    log_level: str

    def check(self) -> None:
        """Raise a UsageError for options that do not go together."""
        if self.election_ms < ELECTION_HEARTBEATS_MIN * self.heartbeat_ms:
            raise UsageError(
                f"--etcd-election-ms {self.election_ms} must be at least {ELECTION_HEARTBEATS_MIN} times "
                f"--etcd-heartbeat-ms {self.heartbeat_ms}; ten times is what leaves room for a lost heartbeat"
            )
        if self.join is None:
            if self.host is not None or self.replace:
                raise UsageError("--host and --replace are for a cluster on several machines: name them with --join")
        elif self.members is not None or self.nodes is not None:
            raise UsageError("--members and --nodes are for this machine alone; with --join it runs one each")
        elif self.host is None or self.host not in self.join:
            raise UsageError(
                f"--host {self.host or 'HOST'}: say which of {', '.join(self.join)} this machine is, as the list has it"
            )

    def node_options(self) -> tuple[str, ...]:
        """Return the options that each node gets."""
        named = (("--key-meta", key) for key in self.keys)
        shared = (
            *("--cluster", self.cluster),
            *("--drain", f"{self.drain_s:g}"),
            *("--loop", self.loop),
            *("--log-level", self.log_level),
        )
        return (*shared, *(("--require-key",) if self.require_key else ()), *(word for pair in named for word in pair))


UP_LESSON = f"""\
Examples:
  semel up server.py                       # three etcd members and three nodes, until Ctrl-C
  semel up mcp.json --data /srv/semel
  semel up server.py --nodes 5 --members 5

One cluster on three machines: the same list on each, and its own address from that list:
  semel up server.py --join 10.0.0.1,10.0.0.2,10.0.0.3 --host 10.0.0.1
  semel up server.py --join 10.0.0.1,10.0.0.2,10.0.0.3 --host 10.0.0.1 --replace   # after its disk was lost

The two times decide how soon the death of etcd's leader is noticed: after one to two elections.
{HEARTBEAT_MS} and {ELECTION_MS} ms suit one machine and a LAN (advised: 20 to 50, and 200 to 500). etcd's own
defaults, 100 and 1000, cost 1.5 to 2.2 s, and suit machines that are far apart: a heartbeat should
be no shorter than a round trip, an election ten heartbeats. All members should have the same.

Neither etcd nor the nodes ask who you are: with --join, keep their ports within a private network.
Ctrl-C or SIGTERM: the nodes are drained, then the etcd members end. Once more: all are killed.
"""


@click.command(cls=Lesson, lesson=UP_LESSON)
@click.argument("target")
@click.option(
    "--data",
    metavar="DIR",
    type=click.Path(path_type=Path, file_okay=False),
    help="Where all data and logs are.  [default: a folder for this target in your data directory]",
)
@click.option("--members", type=OddCount(), metavar="N", help="How many etcd members: 1, 3, 5 or 7.  [default: 3]")
@click.option("--nodes", type=click.IntRange(1, 32), metavar="N", help="How many nodes.  [default: 3]")
@click.option(
    "--port",
    type=PORT,
    metavar="PORT",
    default=NODE_PORT,
    show_default=True,
    help="The first node's port; the others get the next free ones. With --join: the node's port on every machine.",
)
@click.option(
    "--etcd-port",
    type=PORT,
    metavar="PORT",
    help="The first etcd member's port, from which on free ones are taken; with --join, etcd's port on every "
    f"machine, and the next one is for its peers.  [default: {ETCD_PORT}; with --join {JOINED_ETCD_PORT}]",
)
@click.option(
    "--etcd-heartbeat-ms",
    "heartbeat_ms",
    type=click.IntRange(5, 10_000),
    metavar="MS",
    default=HEARTBEAT_MS,
    show_default=True,
    help="How often etcd's leader says that it is there.",
)
@click.option(
    "--etcd-election-ms",
    "election_ms",
    type=click.IntRange(50, 50_000),
    metavar="MS",
    default=ELECTION_MS,
    show_default=True,
    help="How long etcd's members wait for their leader before they elect another.",
)
@click.option("--join", type=Hosts(), metavar="HOST,HOST,HOST", help="Run one member of a cluster on these machines.")
@click.option("--host", metavar="HOST", help="Which of them this machine is.")
@click.option(
    "--replace",
    is_flag=True,
    help="Take the place of the member whose data is lost: the cluster removes it, and takes this one in.",
)
@click.option(
    "--cluster", metavar="NAME", default="semel", show_default=True, help="The cluster that the log belongs to."
)
@serving_options(
    drain="How long running tools may take to end when all is told to go.",
    level="How much the nodes write into their log files",
)
def up(**options: Any) -> None:
    """Run a cluster with a quorum: three etcd members and three nodes that serve TARGET.

    All of them run on this machine, under one supervisor that starts again whatever dies; with --join it is one of
    each, and the other machines run the others. TARGET is what `semel serve` takes. Data and the processes' logs are
    in one directory, and the next start goes on with it.
    """
    _begin(Options(**options))


def _begin(options: Options) -> None:
    from semel.gateway.upstreams.target import find_target  # here, for the SDK takes half a second to import
    from semel.serving import default_folder

    options.check()
    find_target(options.target)
    etcd = find_etcd()
    folder = options.data or default_folder(options.target) / ("up" if options.join is None else "join")
    with Home(folder) as home:
        setting = Setting(
            target=options.target,
            home=home,
            etcd=etcd,
            tuning=Tuning(heartbeat_ms=options.heartbeat_ms, election_ms=options.election_ms),
            node_options=options.node_options(),
        )
        asyncio.run(_run(setting, options))


async def _run(setting: Setting, options: Options) -> None:
    supervisor, signals = Supervisor(_say), Signals()
    with signals.caught():
        try:
            await _live(setting, options, supervisor, signals)
        finally:
            await supervisor.kill()  # what is left, however it came to that


async def _live(setting: Setting, options: Options, supervisor: Supervisor, signals: Signals) -> None:
    """Bring everything up, watch it until a signal comes, and take it down in order."""
    ensemble: Ensemble | None = None

    async def life() -> None:
        nonlocal ensemble
        ensemble = await _make(setting, options)
        await ensemble.up(supervisor, _say)
        click.echo("\n".join(_introduction(ensemble, setting, options)))
        await asyncio.gather(tell_who_leads(ensemble, _say), supervisor.bound_logs())

    if await _until(life(), signals.asked) and ensemble is not None:
        _say(f"the nodes are drained, up to {options.drain_s:g} s, then etcd ends (Ctrl-C again kills all)")
        if not await _until(ensemble.down(supervisor, drain_s=options.drain_s), signals.hurried):
            _say("all processes have ended")


async def _until(work: Coroutine[Any, Any, object], event: asyncio.Event) -> bool:
    """Do the work until it is done or the event comes, which cancels it; return whether that came."""
    task, asked = asyncio.create_task(work), asyncio.create_task(event.wait())
    await asyncio.wait([task, asked], return_when=asyncio.FIRST_COMPLETED)
    for one in (task, asked):
        one.cancel()
    await asyncio.wait([task, asked])
    if task.cancelled():
        return True
    task.result()
    return False


async def _make(setting: Setting, options: Options) -> Ensemble:
    if options.join is None:
        return await make_quorum(
            setting,
            members=options.members,
            nodes=options.nodes,
            node_port=options.port,
            etcd_port=options.etcd_port or ETCD_PORT,
            say=_say,
        )
    assert options.host is not None
    joining = Joining(
        hosts=options.join,
        host=options.host,
        node_port=options.port,
        etcd_port=options.etcd_port or JOINED_ETCD_PORT,
    )
    return await make_member(setting, joining, replace=options.replace, say=_say)


def _introduction(ensemble: Ensemble, setting: Setting, options: Options) -> list[str]:
    urls = ",".join(one.url for one in ensemble.nodes)
    return [
        f"semel {version('semel')}: {_counted(ensemble.members, 'etcd member')} and {_counted(ensemble.nodes, 'node')} "
        f"serve {styled(options.target, bold=True)}",
        *_listed("MCP", [f"{one.url}/mcp  {_named(one)}" for one in ensemble.nodes]),
        *_listed("etcd", [f"{one.url}  {_named(one)}" for one in ensemble.members]),
        *_listed("log", [ensemble.log]),
        *_listed("data", [str(setting.home.folder)]),
        *_listed("output", [f"{setting.home.logs}/NAME.log, of each process"]),
        *_listed("try", [f"semel status --url {urls}"]),
        "  Ctrl-C ends all of it",
    ]


def _counted(them: Sequence[Served], what: str) -> str:
    return f"{len(them)} {what}{'' if len(them) == 1 else 's'}"


def _named(one: Served) -> str:
    return f"{styled(one.child.name, bold=True)}, process {one.child.pid}"


def _listed(label: str, lines: Sequence[str]) -> list[str]:
    return [f"  {label if number == 0 else '':8}{line}" for number, line in enumerate(lines)]


def _say(text: str) -> None:
    """Tell the operator what happens, with the time; one who does not listen any more ends nothing."""
    with contextlib.suppress(OSError):
        click.echo(f"{time.strftime('%H:%M:%S')}  {text}")

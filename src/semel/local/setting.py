"""What the operator wants of the processes on this machine, as `semel up` and the demo say it. Decides nothing."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from semel.local.child import Child
from semel.local.ensemble import Served
from semel.local.etcd import Founding, Tuning, etcd_command
from semel.local.home import Home, Plan
from semel.local.node import node_command
from semel.local.ports import address_of


@dataclass(frozen=True, slots=True, kw_only=True)
class Setting:
    """What is to run, from which programs, and where its data is."""

    target: str
    home: Home
    etcd: Path
    tuning: Tuning = field(default_factory=Tuning)
    node_options: Sequence[str] = ()
    environment: Mapping[str, str] = field(default_factory=dict)

    def member(self, plan: Plan, name: str, founding: Founding) -> Served:
        """Return an etcd member of this machine, not yet started."""
        ports = plan.members[name]
        address = address_of(plan.host)
        command = etcd_command(
            self.etcd,
            name=name,
            data=self.home.etcd(name),
            listen=(url(address, ports.client), url(address, ports.peer)),
            advertise=(url(plan.host, ports.client), url(plan.host, ports.peer)),
            founding=founding,
            tuning=self.tuning,
        )
        return Served(Child(name, command, log=self.home.log(name)), url(plan.host, ports.client))

    def node(self, plan: Plan, name: str, log: str) -> Served:
        """Return a node of this machine, not yet started."""
        host, port = plan.host, plan.nodes[name]
        command = node_command(
            self.target,
            name=name,
            log=log,
            listen=f"{bracketed(address_of(host))}:{port}",
            data=self.home.nodes,
            options=("--advertise", url(host, port), *self.node_options),
        )
        child = Child(name, command, log=self.home.log(name), environment=self.environment)
        return Served(child, url(host, port))


def url(host: str, port: int) -> str:
    """Return the HTTP URL of a host and port."""
    return f"http://{bracketed(host)}:{port}"


def bracketed(host: str) -> str:
    """Return a host as URLs have it: IPv6 addresses in brackets."""
    return f"[{host}]" if ":" in host else host


def log_url(members: Sequence[tuple[str, int]], first: int = 0) -> str:
    """Return the URL of the log that etcd members at these hosts and ports keep, the nearest of them first."""
    ordered = [*members[first:], *members[:first]]
    return "etcd://" + ",".join(f"{bracketed(host)}:{port}" for host, port in ordered)

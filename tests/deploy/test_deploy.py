"""What is shipped to deploy semel fits what it deploys: units that systemd takes, options and settings that exist."""

import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import click
import pytest
import yaml

from semel.cli.main import console
from semel.errors import EtcdMissing
from semel.gateway.upstreams.target import load_target
from semel.local.etcd import ELECTION_MS, HEARTBEAT_MS, SNAPSHOT_COUNT, find_etcd
from semel.log.etcd.address import EtcdAddress

DEPLOY = Path(__file__).parents[2] / "deploy"
UNITS = sorted((DEPLOY / "systemd").glob("*.service"))
ENV_FILES = {path.name: path for path in (DEPLOY / "systemd").glob("*.env")}


def settings(name: str) -> dict[str, str]:
    lines = ENV_FILES[name].read_text().splitlines()
    pairs = (line.split("=", 1) for line in lines if line and not line.startswith("#"))
    return dict(pairs)


def compose() -> dict[str, Any]:
    found: dict[str, Any] = yaml.safe_load((DEPLOY / "compose.yaml").read_text())
    return found


def etcd_settings() -> dict[str, dict[str, str]]:
    """Return what etcd is told, by the file that tells it."""
    return {"etcd.env": settings("etcd.env"), "compose.yaml": compose()["services"]["etcd-1"]["environment"]}


def assert_serves(words: list[str]) -> None:
    """Check a command line `semel serve ...`, up to the program: its options and their values are those that exist."""
    assert words[:2] == ["semel", "serve"]
    command = console.commands["serve"]
    context = click.Context(command)
    command.parse_args(context, words[2:])
    assert context.params["target"]


@pytest.mark.parametrize("unit", UNITS, ids=lambda unit: unit.name)
def test_systemd_takes_the_units(unit: Path, tmp_path: Path) -> None:
    if shutil.which("systemd-analyze") is None:
        pytest.skip("there is no systemd-analyze here")
    for each in UNITS:  # each as it is, but for the program, which is not installed here
        text = re.sub(r"(?<=^ExecStart=)\S+", "/bin/true", each.read_text(), flags=re.MULTILINE)
        (tmp_path / each.name).write_text(text)
    done = subprocess.run(
        ["systemd-analyze", "verify", "--man=no", tmp_path / unit.name],
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )
    assert (done.returncode, done.stdout + done.stderr) == (0, "")


def test_the_node_unit_starts_a_node_with_the_settings_that_are_shipped() -> None:
    unit = (DEPLOY / "systemd" / "semel@.service").read_text()
    found = re.search(r"^ExecStart=(.*)$", unit, re.MULTILINE)
    assert found is not None
    line = re.sub(r"\$\{(\w+)\}", lambda name: settings("node.env")[name[1]], found[1])
    program, *words = line.replace("%S", "/var/lib").replace("%i", "pay").split()
    assert_serves([Path(program).name, *words])
    EtcdAddress.parse(settings("node.env")["SEMEL_LOG"])


def test_a_unit_gives_a_node_more_time_to_end_than_the_node_gives_its_tools() -> None:
    unit = (DEPLOY / "systemd" / "semel@.service").read_text()
    drain, stop = (re.search(rf"{name}(\d+)", unit) for name in ("--drain ", "TimeoutStopSec="))
    assert drain is not None
    assert stop is not None
    assert int(stop[1]) > int(drain[1])
    for name in ("node-1", "node-2", "node-3"):
        node = compose()["services"][name]
        assert int(node["stop_grace_period"].removesuffix("s")) > int(node["command"][-1])


@pytest.mark.parametrize("name", ["node-1", "node-2", "node-3"])
def test_the_compose_file_starts_nodes_with_options_that_exist(name: str) -> None:
    service = compose()["services"][name]
    assert_serves(service["command"])
    assert service["command"][service["command"].index("--node") + 1] == name
    log = EtcdAddress.parse(service["command"][service["command"].index("--log") + 1])
    assert sorted(endpoint.partition(":")[0] for endpoint in log.endpoints) == sorted(service["depends_on"])


def test_the_compose_files_services_have_volumes_and_the_example_serves() -> None:
    found = compose()
    used = {volume.split(":")[0] for service in found["services"].values() for volume in service["volumes"]}
    assert used - set(found["volumes"]) == {"${TOOLS"}
    assert load_target(str(DEPLOY / "example" / "server.py")).servers


@pytest.mark.parametrize("place", ["etcd.env", "compose.yaml"])
def test_etcd_is_told_what_semel_up_tells_it(place: str) -> None:
    told = etcd_settings()[place]
    assert int(told["ETCD_HEARTBEAT_INTERVAL"]) == HEARTBEAT_MS
    assert int(told["ETCD_ELECTION_TIMEOUT"]) == ELECTION_MS
    assert int(told["ETCD_SNAPSHOT_COUNT"]) == SNAPSHOT_COUNT


@pytest.mark.parametrize("place", ["etcd.env", "compose.yaml"])
def test_etcd_knows_every_setting_that_it_is_given(place: str) -> None:
    try:
        etcd = find_etcd()
    except EtcdMissing as missing:
        pytest.skip(str(missing))
    told = subprocess.run([etcd, "--help"], capture_output=True, text=True, timeout=30, check=True)
    known = set(re.findall(r"--([a-z0-9-]+)", told.stdout + told.stderr))
    given = {name.removeprefix("ETCD_").lower().replace("_", "-") for name in etcd_settings()[place]}
    command = compose()["services"]["etcd-1"]["command"][-1]
    assert given | set(re.findall(r"--([a-z-]+)", command)) <= known

"""etcd stays small, recovers from being full, and lets in only who may: against members with such settings."""

import asyncio
import datetime
import ipaddress
from collections.abc import Callable
from pathlib import Path

import grpc
import pytest
from aetcd.rpc import auth_pb2, rpc_pb2, rpc_pb2_grpc
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from semel.errors import LogError, LogUnavailable
from semel.log.etcd import rpc
from semel.log.etcd.address import EtcdAddress
from semel.log.etcd.cluster import Cluster
from semel.log.etcd.engine import EtcdLog
from semel.log.etcd.health import Status, statuses
from tests.log.conftest import PATIENCE_S, Entries, OpenEtcd
from tests.log.members import EtcdCluster

pytestmark = pytest.mark.anyio

MIB = 1024 * 1024
QUOTA_BYTES = 16 * MIB


async def test_a_trim_frees_what_it_forgets_with_its_pieces(
    etcd_binary_path: Path, tmp_path: Path, open_etcd: OpenEtcd, entries: Entries
) -> None:
    with EtcdCluster(etcd_binary_path, tmp_path / "etcd", members=1) as etcd:
        log = await open_etcd(*etcd.endpoints)
        large = bytes(range(256)) * (3 * MIB // 256)
        await log.append(0, [large])
        for after in range(1, 10):
            await log.append(after, [large])
        await _until(lambda: _used_more_than(etcd, 30 * MIB))
        await log.trim(10)
        await log.trim(10)  # this one compacts what the one before it has deleted

        async def is_free() -> bool:
            await log.pulse("node", b"beat")  # etcd counts free pages when it writes
            return (await _status(etcd)).used_bytes < 10 * MIB

        await _until(is_free)
        assert await log.first() == large
        assert await entries(log, 1, after=9) == [large]


async def test_a_full_etcd_says_so_and_has_room_again_after_a_trim(
    etcd_binary_path: Path, tmp_path: Path, open_etcd: OpenEtcd, entries: Entries
) -> None:
    with EtcdCluster(
        etcd_binary_path, tmp_path / "etcd", members=3, arguments=["--quota-backend-bytes", str(QUOTA_BYTES)]
    ) as etcd:
        log = await open_etcd(*etcd.endpoints)
        last = await _fill(log)
        assert await entries(log, 1, after=last - 1)  # what is there can still be read
        await log.pulses()

        async def has_room() -> bool:
            await log.trim(last)  # as the leader does now and then
            try:
                return await log.append(last, [b"after"]) == last + 1
            except LogUnavailable:
                return False

        await _until(has_room)
        assert await entries(log, 1, after=last) == [b"after"]


async def test_an_etcd_that_is_shared_is_left_alone(etcd: EtcdCluster, open_etcd: OpenEtcd) -> None:
    log = await open_etcd(*etcd.endpoints, query="?compact=no")
    for after in range(4):
        await log.append(after, [b"x"])
    cluster = await _cluster(etcd)
    revision = (await cluster.ask("range", rpc.one(b"x"))).header.revision
    await log.trim(3)
    await log.trim(4)
    history = rpc.one(b"x")
    history.revision = revision
    await cluster.ask("range", history)  # it would be refused if that were compacted
    await cluster.close()


async def test_a_user_with_a_role_on_the_prefix_is_let_in_and_others_are_told(
    etcd_binary_path: Path, tmp_path: Path, entries: Entries
) -> None:
    with EtcdCluster(etcd_binary_path, tmp_path / "etcd", members=1) as etcd:
        await _guard(etcd, user="ann", password="s3cret", prefix="pay")
        (tmp_path / "password").write_text("s3cret\n")
        log = await EtcdLog.open(
            EtcdAddress.parse(f"etcd://ann@{etcd.endpoints[0]}/pay?password_file={tmp_path}/password")
        )
        assert await log.append(0, [b"a", b"b"]) == 2
        await log.append(2, [b"c"])
        await log.pulse("node", b"beat")
        assert await log.pulses() == {"node": b"beat"}
        await log.trim(3)
        assert await entries(log, 1, after=2) == [b"c"]
        etcd.members[0].kill()  # which forgets the tokens that it has given out
        etcd.members[0].start()
        await asyncio.to_thread(etcd.members[0].wait_until_ready)
        assert await _append(log, 3, b"d") == 4
        assert await entries(log, 2, after=2) == [b"c", b"d"]
        await log.close()
        for login, prefix, reason in (
            ("", "pay", "wants a user"),
            ("ann:wrong@", "pay", "does not let the user ann in"),
            ("ann:s3cret@", "other", "denies this to the user ann"),
        ):
            with pytest.raises(LogError, match=reason) as refusal:
                await _open_and_append(f"etcd://{login}{etcd.endpoints[0]}/{prefix}")
            assert not isinstance(refusal.value, LogUnavailable)
            assert "s3cret" not in str(refusal.value)


async def test_tls_lets_in_who_shows_a_certificate_and_trusts_whom_the_authority_signed(
    etcd_binary_path: Path, tmp_path: Path, open_etcd: OpenEtcd, entries: Entries
) -> None:
    for name in ("ours", "theirs"):
        _make_certificates(tmp_path / name)
    ours = tmp_path / "ours"
    tls = {"cert-file": ours / "cert", "key-file": ours / "key", "trusted-ca-file": ours / "ca"}
    arguments = ["--client-cert-auth"]
    with EtcdCluster(etcd_binary_path, tmp_path / "etcd", members=1, arguments=arguments, tls=tls) as etcd:
        log = await open_etcd(*etcd.endpoints, query=f"?ca={ours}/ca&cert={ours}/cert&key={ours}/key")
        assert await log.append(0, [b"a"]) == 1
        assert await entries(log, 1) == [b"a"]
        with pytest.raises(LogUnavailable, match="certificate"):
            await open_etcd(*etcd.endpoints, query=f"?ca={tmp_path}/theirs/ca&cert={ours}/cert&key={ours}/key")
        for query in ("", f"?ca={ours}/ca"):
            with pytest.raises(LogUnavailable, match="can be reached"):
                await open_etcd(*etcd.endpoints, query=query)


async def test_the_home_of_replicas_is_named_after_the_cluster_and_the_prefix(
    etcd: EtcdCluster, tmp_path: Path
) -> None:
    homes = []
    for prefix in ("pay", "pay%20day", "pay"):
        log = await EtcdLog.open(EtcdAddress.parse(f"etcd://{etcd.endpoints[0]}/{prefix}"), tmp_path)
        homes.append(log.home)
        await log.close()
    assert homes[0] == homes[2] != homes[1]
    assert all(home is not None and home.parent == tmp_path and "/" not in home.name for home in homes)


async def _fill(log: EtcdLog) -> int:
    """Append until etcd is full, and says so; return the last position."""
    for last in range(QUOTA_BYTES // (MIB // 4) + 50):
        try:
            await log.append(last, [bytes([last % 256]) * (MIB // 4)])
        except LogUnavailable as refusal:
            if "full (NOSPACE alarm)" in str(refusal):
                return last
            raise
    raise AssertionError("etcd took more than its quota")


async def _open_and_append(url: str) -> None:
    log = await EtcdLog.open(EtcdAddress.parse(url))
    try:
        await log.append(0, [b"a"])
    finally:
        await log.close()


async def _append(log: EtcdLog, after: int, entry: bytes) -> int:
    async with asyncio.timeout(PATIENCE_S):
        while True:
            try:
                return await log.append(after, [entry])
            except LogUnavailable:
                await asyncio.sleep(0.01)


async def _used_more_than(etcd: EtcdCluster, used_bytes: int) -> bool:
    return (await _status(etcd)).used_bytes > used_bytes


async def _status(etcd: EtcdCluster) -> Status:
    cluster = await _cluster(etcd)
    (status,) = await statuses(cluster.members)
    assert status is not None
    await cluster.close()
    return status


async def _cluster(etcd: EtcdCluster) -> Cluster:
    return await Cluster.open(EtcdAddress(endpoints=tuple(etcd.endpoints)))


async def _until(condition: Callable[[], object]) -> None:
    async with asyncio.timeout(PATIENCE_S):
        while not await condition():  # type: ignore[misc]
            await asyncio.sleep(0.05)


async def _guard(etcd: EtcdCluster, *, user: str, password: str, prefix: str) -> None:
    """Make a root, and a user with a role on a prefix; then let in nobody else."""
    with grpc.insecure_channel(etcd.endpoints[0]) as channel:
        auth = rpc_pb2_grpc.AuthStub(channel)
        auth.UserAdd(rpc_pb2.AuthUserAddRequest(name="root", password="root"))
        auth.RoleAdd(rpc_pb2.AuthRoleAddRequest(name="root"))
        auth.UserGrantRole(rpc_pb2.AuthUserGrantRoleRequest(user="root", role="root"))
        auth.UserAdd(rpc_pb2.AuthUserAddRequest(name=user, password=password))
        auth.RoleAdd(rpc_pb2.AuthRoleAddRequest(name=prefix))
        permission = auth_pb2.Permission(
            permType=auth_pb2.Permission.READWRITE, key=f"/{prefix}/".encode(), range_end=f"/{prefix}0".encode()
        )
        auth.RoleGrantPermission(rpc_pb2.AuthRoleGrantPermissionRequest(name=prefix, perm=permission))
        auth.UserGrantRole(rpc_pb2.AuthUserGrantRoleRequest(user=user, role=prefix))
        auth.AuthEnable(rpc_pb2.AuthEnableRequest())


def _make_certificates(folder: Path) -> None:
    """Make an authority, and a certificate signed by it, for 127.0.0.1 and for clients."""
    folder.mkdir()
    authority_key, key = ec.generate_private_key(ec.SECP256R1()), ec.generate_private_key(ec.SECP256R1())
    authority = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, f"authority of {folder.name}")])
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "member")])
    now = datetime.datetime.now(datetime.UTC)

    def build(name: x509.Name, public: ec.EllipticCurvePublicKey) -> x509.CertificateBuilder:
        return (
            x509.CertificateBuilder()
            .subject_name(name)
            .issuer_name(authority)
            .public_key(public)
            .serial_number(x509.random_serial_number())
            .not_valid_before(now - datetime.timedelta(hours=1))
            .not_valid_after(now + datetime.timedelta(hours=1))
        )

    own = build(authority, authority_key.public_key())
    own = own.add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
    signed = build(subject, key.public_key())
    here = x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address("127.0.0.1"))])
    signed = signed.add_extension(here, critical=False)
    pem = serialization.Encoding.PEM
    (folder / "ca").write_bytes(own.sign(authority_key, hashes.SHA256()).public_bytes(pem))
    (folder / "cert").write_bytes(signed.sign(authority_key, hashes.SHA256()).public_bytes(pem))
    (folder / "key").write_bytes(
        key.private_bytes(pem, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    )

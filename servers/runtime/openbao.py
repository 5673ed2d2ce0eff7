"""OpenBao, or HashiCorp Vault, as the keeper of secrets: KV v2 through hvac, in a few threads, within a time.

hvac blocks, and its errors hold what the server said: here an error becomes its kind, and nothing else of it is kept.
"""

from __future__ import annotations

import asyncio
import base64
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final, TypeVar

import hvac
import requests
import structlog
from hvac import exceptions as refusals

from servers.runtime.secrets import BackendUnavailable, OpenBaoSettings, Silence, VersionGone

T = TypeVar("T")

FIELD: Final = "base64"
"""The one field of an entry: KV v2 keeps text, and a secret is bytes."""
LOGIN_LIVES: Final = 0.8
"""The part of its lifetime after which a login is replaced."""

_log = structlog.get_logger("selene.openbao")


class OpenBao:
    """One path a handle, one version of KV v2 a version of the secret.

    It asks once: whatever is not an answer raises BackendUnavailable, and a write that did not answer in time may have
    been made. No lease can reach such a version.
    """

    def __init__(self, settings: OpenBaoSettings) -> None:
        self._settings = settings
        self._threads = ThreadPoolExecutor(settings.threads, "openbao")
        self._login_lock = threading.Lock()
        self._login: tuple[Any, float] | None = None
        self._http = requests.Session()
        # Neither a proxy nor credentials of the surroundings: what is asked goes to the address and to nobody else.
        self._http.trust_env = False
        self._http.verify = str(settings.ca_file) if settings.ca_file else True
        self._http.mount("https://", requests.adapters.HTTPAdapter(pool_maxsize=settings.threads))
        self._http.mount("http://", requests.adapters.HTTPAdapter(pool_maxsize=settings.threads))

    async def write(self, handle: str, secret: bytes) -> int:
        """Keep a secret as the next version of its path; its number there. BackendUnavailable."""
        entry = {FIELD: base64.b64encode(secret).decode()}

        def write(client: Any) -> int:
            made = client.secrets.kv.v2.create_or_update_secret(
                self._path(handle), entry, mount_point=self._settings.mount
            )
            return _number(made["data"]["version"])

        return await self._ask("write", write)

    async def read(self, handle: str, version: int) -> bytes:
        """The secret of one version. BackendUnavailable, VersionGone."""

        def read(client: Any) -> bytes:
            try:
                found = client.secrets.kv.v2.read_secret_version(
                    self._path(handle), version, mount_point=self._settings.mount, raise_on_deleted_version=True
                )["data"]
            except refusals.InvalidPath as missing:
                # With no errors it says that there is no such entry; with some, that there is no such mount.
                if missing.errors:
                    raise
                raise VersionGone from None
            if _number(found["metadata"]["version"]) != version:
                raise ValueError("another version than was asked for")
            return base64.b64decode(found["data"][FIELD], validate=True)

        return await self._ask("read", read)

    async def destroy(self, handle: str, versions: Sequence[int]) -> None:
        """Destroy versions for good; those that are gone already are no error. BackendUnavailable."""

        def destroy(client: Any) -> None:
            done = client.secrets.kv.v2.destroy_secret_versions(
                self._path(handle), list(versions), mount_point=self._settings.mount
            )
            if done.status_code != requests.codes.no_content:
                raise ValueError("not the answer to a destruction")

        await self._ask("destroy", destroy)

    async def answers(self) -> bool:
        """Whether it is unsealed and accepts the credential now. Never raises."""

        def look(client: Any) -> None:
            client.auth.token.lookup_self()["data"]["id"]

        try:
            await self._ask("look up", look)
        except BackendUnavailable:
            return False
        return True

    async def close(self) -> None:
        """Take no more requests; those that hang end by their own timeouts."""
        self._threads.shutdown(wait=False, cancel_futures=True)
        self._http.close()

    def _path(self, handle: str) -> str:
        return f"{self._settings.path}/{handle.removeprefix('kms://')}"

    async def _ask(self, what: str, request: Callable[[Any], T]) -> T:
        try:
            async with asyncio.timeout(self._settings.timeout_s):
                return await asyncio.get_running_loop().run_in_executor(self._threads, self._authorised, request)
        except TimeoutError:
            silent = BackendUnavailable(Silence.NO_ANSWER)
        except BackendUnavailable as error:
            silent = error
        _log.warning("openbao gave nothing", asked=what, cause=silent.cause.value)
        raise silent from None

    def _authorised(self, request: Callable[[Any], T]) -> T:
        """The request under a login; once more under a new one where that is no longer accepted."""
        with _by_kind():
            client = self._client()
            try:
                return request(client)
            except refusals.Forbidden:
                return request(self._client(instead_of=client))

    def _client(self, instead_of: Any = None) -> Any:
        with self._login_lock:
            if self._login is None or self._login[0] is instead_of or self._login[1] <= time.monotonic():
                self._login = self._logged_in()
            return self._login[0]

    def _logged_in(self) -> tuple[Any, float]:
        """A client with a token, and until when it is used, in seconds of the monotonic clock."""
        settings = self._settings
        if settings.token_file is not None:
            return self._with_token(_credential(settings.token_file)), float("inf")
        if settings.role_id_file is None or settings.secret_id_file is None:
            raise BackendUnavailable(Silence.NO_CREDENTIAL)
        began = time.monotonic()
        try:
            login = self._with_token("").auth.approle.login(
                _credential(settings.role_id_file),
                _credential(settings.secret_id_file),
                use_token=False,
                mount_point=settings.approle_mount,
            )["auth"]
        except refusals.InvalidRequest:
            raise BackendUnavailable(Silence.DENIED) from None
        # A lifetime of 0 is one without end.
        lives_s = _number(login["lease_duration"]) or float("inf")
        return self._with_token(_text(login["client_token"])), began + lives_s * LOGIN_LIVES if lives_s else float(
            "inf"
        )

    def _with_token(self, token: str) -> Any:
        # An empty token and no proxy are said: left out, hvac would take them from the surroundings.
        return hvac.Client(
            url=self._settings.address,
            token=token,
            verify=self._http.verify,
            timeout=self._settings.timeout_s,
            allow_redirects=False,
            session=self._http,
            namespace=self._settings.namespace or None,
        )


@contextmanager
def _by_kind() -> Iterator[None]:
    """Any failure as BackendUnavailable, which carries nothing of the original."""
    try:
        yield
    except refusals.VaultDown:
        cause = Silence.SEALED
    except (refusals.Forbidden, refusals.Unauthorized):
        cause = Silence.DENIED
    except refusals.VaultError:
        cause = Silence.REFUSED
    except requests.exceptions.Timeout:
        cause = Silence.NO_ANSWER
    except requests.exceptions.RequestException:
        cause = Silence.UNREACHABLE
    except (AttributeError, KeyError, TypeError, ValueError):
        cause = Silence.MALFORMED
    else:
        return
    raise BackendUnavailable(cause)


def _credential(path: Path) -> str:
    try:
        credential = path.read_text(encoding="ascii").strip()
    except (OSError, UnicodeDecodeError):
        credential = ""
    if not credential:
        raise BackendUnavailable(Silence.NO_CREDENTIAL)
    return credential


def _number(value: object) -> int:
    if isinstance(value, bool) or not isinstance(value, int) or value < 0:
        raise ValueError("not a number")
    return value


def _text(value: object) -> str:
    if not isinstance(value, str) or not value:
        raise ValueError("not a text")
    return value

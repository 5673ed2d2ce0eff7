"""Control loops that die at any commit, that are killed for real, or that are four: what was due is done once.

Everything is due at one moment (`scene.prepare`): steps of a rollout, a regression, a revocation, a consent that has
run out. What comes of it is held against what comes of it where nothing happens to anybody.
"""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import Iterator
from contextlib import AsyncExitStack
from pathlib import Path

import pytest

from tests.servers.governance import scene
from tests.servers.governance.chain import Chain
from tests.servers.governance.scene import Outcome, Scene
from tests.support import crash_controller
from tests.support.dying import Dying, Killed
from tests.support.killable import forked, told
from tests.support.stores import DIALECTS, Postgres, migrated_sqlite

MOST_COMMITS = 60
LEAST_COMMITS = 12


@pytest.fixture(scope="module", params=DIALECTS)
def everything_due(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Scene]:
    """The moment, once per dialect."""
    if request.param == "sqlite":
        yield _on_sqlite(tmp_path_factory.mktemp("scene"))
        return
    postgres: Postgres = request.getfixturevalue("postgres")
    made = postgres.fresh()
    now = asyncio.run(scene.prepare(made.url))
    copies: dict[str, str] = {}

    def copy() -> str:
        name = f"{made.name}_{len(copies)}"
        url = postgres.create(name, template=made.name)
        copies[url] = name
        return url

    yield Scene(now, copy, lambda url: postgres.is_deserted(copies[url]), stride=9)


def _on_sqlite(folder: Path) -> Scene:
    path, numbers = folder / "scene.db", itertools.count(1)
    path.write_bytes(migrated_sqlite())
    now = asyncio.run(scene.prepare(f"sqlite:///{path}"))

    def copy() -> str:
        to = folder / f"scene-{next(numbers)}.db"
        to.write_bytes(path.read_bytes())
        return f"sqlite:///{to}"

    return Scene(now, copy, lambda _: True, stride=1)


@pytest.fixture(scope="module")
def undisturbed(everything_due: Scene) -> Outcome:
    """What comes of it where nothing happens to anybody."""

    async def watched() -> Outcome:
        async with everything_due.opened() as chain:
            await chain.settle()
            return await scene.outcome(chain.store)

    return asyncio.run(watched())


async def quiet(chain: Chain) -> None:
    """Returns once nothing is due."""
    governance, now = chain.store.governance, chain.clock.now()
    for _ in range(500):
        await chain.settle()
        left = (
            *await governance.consents.expired(now, limit=1),
            *await governance.consents.open(limit=1),
            *await governance.rollouts.due(now, limit=1),
        )
        if not left:
            return
        await asyncio.sleep(0.02)
    raise AssertionError(left)


async def test_a_controller_that_dies_before_any_commit_is_followed_by_one_that_does_the_rest(
    everything_due: Scene, undisturbed: Outcome
) -> None:
    # Between two commits nothing is kept but in the store: death after one is death before the next.
    for at in range(1, MOST_COMMITS, everything_due.stride):
        async with everything_due.opened() as chain:
            dying = Dying(chain.store, at, committed=False)
            try:
                await chain.controller(dying).tick()
            except Killed:
                await chain.settle()
                assert await scene.outcome(chain.store) == undisturbed, at
            else:
                assert dying.passed > LEAST_COMMITS, "the enumeration ended before everything was done"
                return
    raise AssertionError("the enumeration has no end")


@pytest.mark.parametrize("at", [4, 12])
async def test_a_controller_that_is_killed_within_a_transaction_leaves_nothing_half_done(
    everything_due: Scene, undisturbed: Outcome, at: int
) -> None:
    url = everything_due.copy()
    with forked(crash_controller.main, url, everything_due.at, at) as (process, tells):
        assert await asyncio.to_thread(next, told(tells)) == at
        process.kill()
        await asyncio.to_thread(process.join)
    # What the dead one had locked would be passed over, and looked at later than undisturbed.
    for _ in range(500):
        if everything_due.is_deserted(url):
            break
        await asyncio.sleep(0.02)
    else:
        raise AssertionError("the database still holds who was killed")
    async with scene.at(url, everything_due.at) as chain:
        await quiet(chain)
        assert await scene.outcome(chain.store) == undisturbed


async def test_four_controllers_at_once_do_everything_once(everything_due: Scene, undisturbed: Outcome) -> None:
    url = everything_due.copy()
    async with AsyncExitStack() as processes:
        chains = [
            await processes.enter_async_context(scene.at(url, everything_due.at, seed=10 + number))
            for number in range(4)
        ]
        await asyncio.gather(*(chain.controller().tick() for chain in chains))
        await quiet(chains[0])
        done = await scene.outcome(chains[0].store)
    assert done.whoever_was_first == undisturbed.whoever_was_first


def test_everything_that_was_due_is_done(undisturbed: Outcome) -> None:
    serving = {line: pointer for line, (pointer, _) in undisturbed.lines.items()}
    assert serving == {
        "shadow": None,
        "canary": None,
        "promoted": (3, 2),
        "regressed": (3, 1),
        "revoked": (4, 1),
        "expired": (3, 1),
    }
    assert {user: len(done) for user, (_, _, done) in undisturbed.revocations.items()} == {"ula": 7, "vic": 7}
    assert sum(undisturbed.told[key] for key in undisturbed.told if key[0] == "rollout.rolled_back") == 4

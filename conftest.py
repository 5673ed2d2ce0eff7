"""Fixtures for every test folder."""

import gc
from pathlib import PurePosixPath

import pytest
from xdist.remote import Producer
from xdist.scheduler import LoadScopeScheduling

pytest_plugins = [
    "tests.support.logs",
    "tests.support.stores",
    "tests.support.speech",
    "tests.support.servers",
    "tests.support.vowels",
    "tests.support.openbao",
    "tests.support.talking",
]


ON_ONE_WORKER = ("tests/conformance",)
"""Folders whose tests share servers that cost more to start than most tests do."""

_COLLECT_EVERY = 20_000  # objects that came and did not go; Python's own is 700


class _Scheduling(LoadScopeScheduling):
    """A module at a time, and such a folder at a time."""

    def _split_scope(self, nodeid: str) -> str:
        module = super()._split_scope(nodeid)
        return next((folder for folder in ON_ONE_WORKER if PurePosixPath(module).is_relative_to(folder)), module)


def pytest_xdist_make_scheduler(config: pytest.Config, log: Producer) -> LoadScopeScheduling | None:
    """How the tests are shared among workers; None as the command line says."""
    return _Scheduling(config, log) if config.getoption("dist") == "loadscope" else None


def pytest_collection_finish() -> None:
    """Leave thousands of collected tests out of every pass of the garbage collector."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(_COLLECT_EVERY, 10, 10)

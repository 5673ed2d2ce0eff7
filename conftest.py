"""Fixtures for every test folder."""

import gc

pytest_plugins = [
    "tests.support.logs",
    "tests.support.stores",
    "tests.support.speech",
    "tests.support.servers",
    "tests.support.vowels",
    "tests.support.openbao",
    "tests.support.talking",
]


def pytest_collection_finish() -> None:
    """Leave thousands of collected tests out of every pass of the garbage collector."""
    gc.collect()
    gc.freeze()

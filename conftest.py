"""Fixtures for every test folder."""

pytest_plugins = [
    "tests.support.logs",
    "tests.support.stores",
    "tests.support.speech",
    "tests.support.servers",
    "tests.support.vowels",
    "tests.support.openbao",
    "tests.support.talking",
]

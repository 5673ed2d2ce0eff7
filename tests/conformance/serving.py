"""A live server as a user starts it: `selene up` in a process of its own, with a data directory of its own."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import jwt

from servers.runtime.auth import Principal, generate_signing_key, issue_token
from servers.runtime.server import development_key

ROOT = Path(__file__).parents[2]
ROUTING_OWNERS = ("delivery", "stt", "tts", "llm")
"""Each serves the services of selene.routing beside its own."""

SETTINGS = {
    # Everything that is shipped, with bounds that a case can reach. Every call needs a token. A decision has time:
    # other tests share the machine.
    "selene": """
        development.anonymous = false
        limits = { idle_s = 4, grace_s = 1 }
        owners.voiceid = { max_audio_s = 5, decision_budget_s = 10 }
        owners.stt = { max_audio_s = 5 }
        [owners.routing.prices]
        "selene-local/stt" = 1000
        "selene-local/tts" = 1000
        "selene-local/llm" = 1000
        "smtp/primary" = 1000
    """,
    # Development as it comes, where a call without a token is the developer's; no model, nobody to recognise or make
    # speech, and hardly any patience.
    "bare": """
        limits = { stream_s = 2.5, grace_s = 1 }
        owners.voiceid = { models = ["absent"] }
        owners.stt = { local_workers = 0 }
        owners.tts = { local = false }
    """,
    # Vendors, all of them the simulator. Language needs no key there, speech does, and mail goes to a mail server that
    # wants no login. Little patience, too.
    "vendors": """
        development.anonymous = false
        limits = { stream_s = 3, grace_s = 1 }
        owners.voiceid = { models = ["absent"] }
        owners.stt = { local_workers = 0, openai = { base_url = "$vendor" } }
        owners.tts = { local = false, openai = { base_url = "$vendor" } }
        owners.llm = { llama = { base_url = "$vendor" } }
        [owners.delivery.rules]
        call_timeout_s = 3
        [owners.delivery.accounts."smtp/primary"]
        host = "127.0.0.1"
        port = $mail
        security = "none"
        needs_secret = false
        sender = "selene@example.org"
    """,
    # Two calls at once are all that it takes.
    "narrow": """
        development.anonymous = false
        limits = { concurrent_calls = 2, grace_s = 1 }
        owners.voiceid = { models = ["absent"] }
        owners.stt = { local_workers = 0 }
        owners.tts = { local = false }
    """,
}


@dataclass(frozen=True)
class Live:
    """A server that accepts calls: where each owner listens, and where its keys are."""

    targets: Mapping[str, str]
    data_dir: Path
    process: subprocess.Popen[str]

    def target_of(self, service: str, owner: str = "") -> str:
        """Where a service of the contract (`selene.audit.v1.AuditService`) is served, by `owner` where several do."""
        return self.targets[owner or owner_of(service)]

    def token(self, tenant: str, caller: Mapping[str, Any]) -> str | None:
        """The token of a caller as a case describes it; None for one that has none."""
        if "token" in caller:
            return str(caller["token"]) or None
        key = generate_signing_key() if caller.get("signed_by") == "a stranger" else development_key(self.data_dir)
        principal = Principal(
            caller.get("tenant", tenant),
            caller.get("subject", "conformance"),
            caller.get("device", ""),
            frozenset(caller.get("roles", ("user", "service", "operator", "deployment-operator", "auditor"))),
        )
        began = datetime.now(UTC) - timedelta(hours=caller.get("hours_ago", 0))
        audience, issuer = caller.get("audience", "selene"), caller.get("issuer", "selene")
        token = issue_token(key, principal, now=began, lifetime=timedelta(minutes=30), audience=audience, issuer=issuer)
        return _unsigned(token) if caller.get("unsigned") else token


def owner_of(service: str) -> str:
    """An owner that serves a service of the contract."""
    domain = service.split(".")[1]
    return ROUTING_OWNERS[-1] if domain == "routing" else domain


def _unsigned(token: str) -> str:
    """The same claims, of which the header says that nobody signed them."""
    return jwt.encode(jwt.decode(token, options={"verify_signature": False}), None, algorithm="none")


@contextmanager
def serving(data_dir: Path, settings: str) -> Iterator[Live]:
    """`selene up` until the block ends."""
    surroundings = {name: value for name, value in os.environ.items() if not name.startswith("SELENE_")}
    config = data_dir / "selene.toml"
    config.write_text(settings)
    ports = ["--port", "0"]
    arguments = ["up", "--config", str(config), "--data-dir", str(data_dir), *ports, "--json"]
    with (data_dir / "log").open("w") as log:
        process = subprocess.Popen(
            [str(Path(sys.executable).with_name("selene")), *arguments],
            cwd=ROOT,
            env=surroundings,
            stdout=subprocess.PIPE,
            stderr=log,
            text=True,
        )
    try:
        assert process.stdout is not None
        ready = process.stdout.readline()
        assert ready, (data_dir / "log").read_text()
        yield Live(json.loads(ready)["targets"], data_dir, process)
    finally:
        process.send_signal(signal.SIGTERM)
        try:
            process.wait(20)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()

"""Cases: one YAML file a rule of the contract, the same for every client and every other language.

    says: what is specified, in a sentence
    rpc: the call of which it is specified, or a list of calls
    server: `selene` (default), `bare` (no model and no provider, little patience, no token needed) or `vendors`
      (nobody recognises speech but a simulated vendor, which is asked before Selene's own language, too, and mail goes
      to a simulated server: `vendors.py`)
    at: the owner to ask for what every routing owner answers; `llm` where it is not said
    alone: true for a case that changes what all tenants share: no other of them runs meanwhile
    given: steps before it, by name (`given.yaml`) or written out
    as: the token: tenant, subject, device, roles, audience, issuer, hours_ago, signed_by, unsigned; or `token` itself
    send: the message, or the messages of a stream, in proto JSON; sound as in `sound.py`; `pause` in seconds;
      `stream` is the config of an Identify or a Verify: STREAM, but for what it says; `sequence_from` numbers frames
    take: go away after so many replies; half_close: false keeps the sending side open meanwhile
    reply | replies: the fields that matter; `...` is any number of other replies
    refused: code, reason, metadata, and `fields`: the rule that each field breaks
    keep: a name for a value of the reply, or of the `metadata` of a refusal, used as $name afterwards
    until: seconds within which the outcome must come to be what is expected; a step only
    then: steps after it that show what it did

$tenant is the case's own, different for every client, and so is $handle, for secrets are no tenant's. $signal is
SIGNAL as it happened when the case began. $evidence, $report, $proof and $parser are what governance asks for of the
candidate that `artifacts.py` put into the tenant's ledger. $pcm16,
$float32 and $opus are audio formats. $some, $absent and $empty are conditions on a value; so are !at_least, !at_most,
!one_of, !bytes (a length) and !holds (a part of it). !repeat is a text so many times over. !sealed is a `secret`
sealed for a `handle` to a `key`, which is a reply of GetSealingKey. !with is the message `of`, but for what is said
beside it, by path (`stt.providers.0.region`).
"""

from __future__ import annotations

import base64
import copy
import functools
import hashlib
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import yaml
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey

from clients.secrets import seal
from tests.conformance import sound
from tests.conformance.clients import Json, Outcome, Pause
from tests.conformance.matching import ABSENT, EMPTY, SOME, CaseLoader, differences

FOLDER = Path(__file__).parent
CONSTANTS = {
    "some": SOME,
    "absent": ABSENT,
    "empty": EMPTY,
    "pcm16": {"encoding": "AUDIO_ENCODING_LINEAR16", "sample_rate_hz": 16000, "channel_count": 1},
    "float32": {"encoding": "AUDIO_ENCODING_FLOAT32", "sample_rate_hz": 48000, "channel_count": 1},
    "opus": {"encoding": "AUDIO_ENCODING_OPUS", "sample_rate_hz": 16000, "channel_count": 1},
}
STREAM = {"audio_format": "$pcm16", "tenant_id": "$tenant", "device_id": "kitchen", "session_id": "s-1"}
SIGNAL = {
    "signal_id": "signal-1",
    "correlation_id": "c-1",
    "turn_id": "turn-1",
    "occurred_at": "$now",
    "tenant_id": "$tenant",
    "user_id": "mira",
    "device_id": "kitchen",
    "session_id": "s-1",
    "source_engine_id": "PH1.VOICE.ID",
    "source_capability_id": "identify",
    "reason_code": "SCORE_LOW",
    "input_ref": "stream:1",
    "output_ref": "decision:1",
    "outcome_label": "CORRECTED",
    "consent_asserted": True,
    "privacy_scope": "PRIVACY_SCOPE_TENANT",
    "retention_class": "RETENTION_CLASS_STANDARD",
    "severity": "SEVERITY_MEDIUM",
    "confidence_bp": 9000,
    "impact_estimate_bp": 5000,
    "idempotency_key": "k-1",
    "domain": "GOLD_DOMAIN_VOICE_IDENTITY",
    "signal_class": "SIGNAL_CLASS_FALSE_REJECT",
    "capture_source": "CAPTURE_SOURCE_RUNTIME_OUTCOME",
}
CLAIM = "mira"
STEP_KEYS = frozenset(
    ("rpc", "as", "send", "take", "half_close", "reply", "replies", "refused", "keep", "until", "server", "at")
)
CASE_KEYS = STEP_KEYS | {"says", "given", "then", "alone"}
SHORT = {
    name: f"selene.{package}.{name}"
    for package, names in {
        "voiceid.v1": ("EnrollmentService", "ProfileService", "PolicyService"),
        "audit.v1": ("AuditService",),
        "kms.v1": ("SecretsService",),
        "stt.v1": ("SpeechToTextService",),
        "tts.v1": ("TextToSpeechService",),
        "llm.v1": ("LanguageService",),
        "delivery.v1": ("DeliveryService",),
        "learning.v1": ("SignalService", "GoldService", "DriftService"),
        "governance.v1": ("GovernanceService", "ConsentService", "DefectService"),
        "routing.v1": ("RoutingService", "CircuitService", "LimitsService"),
    }.items()
    for name in names
}

_NAME = re.compile(r"\$\{?([a-z_0-9]+)\}?")


@dataclass(frozen=True)
class Sealed:
    """A secret of a case, to be sealed when the server's key is known: `secret`, `handle` and `key`."""

    document: Mapping[str, Any]

    def message(self) -> Json:
        """The SealedSecret as proto JSON. Its ephemeral key is made of what is sealed: a repetition is one."""
        secret, handle, key = str(self.document["secret"]), self.document["handle"], self.document["key"]
        seed = hashlib.sha256(f"{handle} {secret}".encode()).digest()
        sealed = seal(
            secret.encode(),
            handle,
            sealing_key_id=key["sealing_key_id"],
            public_key=base64.b64decode(key["public_key"]),
            ephemeral=lambda: X25519PrivateKey.from_private_bytes(seed),
        )
        return {
            "sealing_key_id": sealed.sealing_key_id,
            "ephemeral_public_key": base64.b64encode(sealed.ephemeral_public_key).decode(),
            "ciphertext": base64.b64encode(sealed.ciphertext).decode(),
        }


def _sealed(loader: CaseLoader, node: yaml.MappingNode) -> Sealed:
    return Sealed({str(name): value for name, value in loader.construct_mapping(node, deep=True).items()})


CaseLoader.add_constructor("!sealed", _sealed)


@dataclass(frozen=True)
class Altered:
    """A message, `of`, but for what is said beside it, by path; to be made when the message is known."""

    document: Mapping[str, Any]

    def message(self) -> Json:
        """The message as it is then."""
        altered: Json = copy.deepcopy(dict(self.document["of"]))
        for path, value in self.document.items():
            if path != "of":
                *parents, last = path.split(".")
                place: Any = altered
                for name in parents:
                    place = place[int(name)] if isinstance(place, list) else place[name]
                place[int(last) if isinstance(place, list) else last] = value
        return altered


def _altered(loader: CaseLoader, node: yaml.MappingNode) -> Altered:
    return Altered({str(name): value for name, value in loader.construct_mapping(node, deep=True).items()})


CaseLoader.add_constructor("!with", _altered)


@dataclass(frozen=True)
class Step:
    """One call and what must come of it. A `setup` step is not what the case is about: any client may make it."""

    rpc: str
    document: Mapping[str, Any]
    setup: bool = False

    @property
    def refused(self) -> Mapping[str, Any] | None:
        return self.document.get("refused")


@dataclass(frozen=True)
class Case:
    """A file of this folder."""

    path: Path
    name: str
    says: str
    server: str
    alone: bool
    step: Step
    given: tuple[Step, ...]
    then: tuple[Step, ...]

    @property
    def steps(self) -> tuple[Step, ...]:
        return (*self.given, self.step, *self.then)


@functools.cache
def cases() -> tuple[Case, ...]:
    """Every case of this folder, in the order of their names; one that is said of several RPCs once for each."""
    paths = [path for path in sorted(FOLDER.glob("*/*.yaml")) if path.parent.name != "golden"]
    return tuple(case for path in paths for case in _read(path))


@functools.cache
def load(path: Path) -> Any:
    """A YAML file of this folder, to be read only."""
    return yaml.load(path.read_text(encoding="utf-8"), CaseLoader)


def _read(path: Path) -> Iterator[Case]:
    document = load(path)
    unknown = set(document) - CASE_KEYS
    assert not unknown, f"{path.name}: {unknown} mean nothing"
    name = f"{path.parent.name}/{path.stem}"
    several = document["rpc"] if isinstance(document["rpc"], list) else []
    for rpc in several or [document["rpc"]]:
        yield Case(
            path,
            f"{name}.{_short(rpc)}" if several else name,
            document["says"],
            document.get("server", "selene"),
            document.get("alone", False),
            _step({**document, "rpc": rpc}),
            tuple(step for item in document.get("given", ()) for step in _given(item)),
            tuple(step for item in document.get("then", ()) for step in _given(item)),
        )


def _short(rpc: str) -> str:
    return rpc.removeprefix("selene.").replace("voiceid.", "").replace("VoiceIdService/", "")


def tenant_of(case_name: str, client_name: str) -> str:
    """The tenant of one run of a case: nobody else's."""
    return f"{case_name.replace('/', '-')}-{client_name}"


def _given(item: Mapping[str, Any], *, setup: bool = False) -> Iterator[Step]:
    """A step that is written out, or the steps of `given.yaml` that a name stands for."""
    if "rpc" in item:
        unknown = set(item) - STEP_KEYS
        assert not unknown, f"{unknown} mean nothing in a step"
        yield replace(_step(item), setup=setup)
        return
    ((name, arguments),) = item.items()
    template = load(FOLDER / "given.yaml")[name]
    values = {**template.get("defaults", {}), **(arguments or {})}
    for step in template["steps"]:
        yield from _given(filled(step, values, leave=True), setup=True)


def _step(document: Mapping[str, Any]) -> Step:
    service, _, method = document["rpc"].partition("/")
    send = document["send"]
    if isinstance(send, list):
        send = [_config(item, method) if "stream" in item else item for item in send]
    said = {name: value for name, value in document.items() if name in STEP_KEYS}
    return Step(f"{SHORT.get(service, service)}/{method}", {**said, "send": send})


def _config(item: Mapping[str, Any], method: str) -> Json:
    """`stream` as the first message of an Identify, or of a Verify, which claims somebody."""
    said = {**STREAM, **(item["stream"] or {})}
    claim = said.pop("claimed_user_id", CLAIM)
    stream = {name: value for name, value in said.items() if value is not None}
    return {"config": {"stream": stream, "claimed_user_id": claim} if method == "Verify" else stream}


def handle_of(tenant: str) -> str:
    """A handle of a secret that only the case of this tenant uses."""
    return f"kms://providers/conformance/{hashlib.blake2s(tenant.encode(), digest_size=8).hexdigest()}"


def filled(value: Any, values: Mapping[str, Any], *, leave: bool = False) -> Any:
    """`value` with `$name` replaced; with `leave`, names that are not known yet stay."""
    if isinstance(value, Mapping):
        return {name: filled(item, values, leave=leave) for name, item in value.items()}
    if isinstance(value, list):
        return [filled(item, values, leave=leave) for item in value]
    if isinstance(value, Sealed | Altered):
        made = type(value)(filled(value.document, values, leave=leave))
        return made if leave else made.message()
    if not isinstance(value, str) or "$" not in value:
        return value
    whole = _NAME.fullmatch(value)
    if whole:
        return values.get(whole[1], value) if leave else values[whole[1]]
    return _NAME.sub(lambda name: str(values.get(name[1], name[0]) if leave else values[name[1]]), value)


def messages(send: Any) -> list[Json | Pause]:
    """What the client sends, with sound as frames that follow each other."""
    sent: list[Json | Pause] = []
    config: Json = {}
    sequence = 0
    for item in send if isinstance(send, list) else [send]:
        if "pause" in item:
            sent.append(Pause(item["pause"]))
        elif "sequence_from" in item:
            sequence = int(item["sequence_from"])
        elif any(kind in item for kind in sound.KINDS):
            made = sound.frames(item, config, sequence)
            sequence += len(made)
            sent += made
        else:
            config = item.get("config", config)
            sequence = int(item["frame"].get("sequence", sequence)) + 1 if "frame" in item else sequence
            sent.append(item)
    return sent


def disagreements(expected: Mapping[str, Any], outcome: Outcome) -> list[str]:
    """What is not as the step says, a line each."""
    refused = expected.get("refused")
    if refused is None and outcome.code != "OK":
        return [f"refused with {outcome.code} {outcome.reason} {outcome.metadata} {outcome.fields}: {outcome.message}"]
    found = differences(expected["replies"], outcome.replies, "replies") if "replies" in expected else []
    if "reply" in expected:
        found += differences([expected["reply"]], outcome.replies, "reply")
    if refused is not None:
        found += [
            f"{name}: {getattr(outcome, name)!r} is not {wanted!r}"
            for name, wanted in {"domain": "selene", "fields": {}, **refused}.items()
            if differences(wanted, getattr(outcome, name)) or _more(wanted, getattr(outcome, name))
        ]
    return found


def _more(wanted: Any, found: Any) -> bool:
    """A refusal names all its metadata and all its fields, not only those that a case thinks of."""
    return isinstance(wanted, Mapping) and set(wanted) != set(found)


def value_at(outcome: Outcome, path: str) -> Any:
    """`0.started.stream_id` of a stream's replies; the leading index may be left out for the only reply.

    `metadata.expected` is of a refusal.
    """
    first = path.split(".")[0]
    if first == "metadata":
        return outcome.metadata[path.removeprefix("metadata.")]
    value: Any = outcome.replies if first.lstrip("-").isdigit() else outcome.replies[0]
    for part in path.split("."):
        value = value[int(part)] if isinstance(value, list) else value[part]
    return value

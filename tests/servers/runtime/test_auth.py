import base64
import hashlib
import hmac
import json
import stat
from collections.abc import Callable
from contextvars import copy_context
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import jwt
import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519

from servers.runtime import auth
from servers.runtime.auth import KeyFileError, KeySet, Principal, SigningKey, TokenVerifier, issue_token
from servers.runtime.clock import ManualClock
from servers.runtime.errors import Refusal

START = datetime(2026, 1, 1, tzinfo=UTC)
ALICE = Principal("t-1", "alice", "phone-1", frozenset({"user"}))
ED = auth.generate_signing_key()
P256 = SigningKey("p256", ec.generate_private_key(ec.SECP256R1()))


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock(START)


@pytest.fixture
def verifier(clock: ManualClock) -> TokenVerifier:
    keys = KeySet(clock, always=[ED.verification_key(), P256.verification_key()])
    return TokenVerifier(keys, clock, issuer="selene", audience="selene")


def claims(**changes: Any) -> dict[str, Any]:
    now = int(START.timestamp())
    whole = {"iss": "selene", "aud": "selene", "sub": "alice", "tid": "t-1", "dev": "phone-1", "roles": ["user"]}
    whole |= {"iat": now, "exp": now + 300} | changes
    return {name: value for name, value in whole.items() if value is not ...}


def signed(payload: dict[str, Any], key: SigningKey = ED, kid: str | None = None) -> str:
    return jwt.encode(payload, key.private_key, algorithm=key.algorithm, headers={"kid": kid or key.kid})


def assembled(header: dict[str, Any], payload: dict[str, Any], sign: Callable[[bytes], bytes]) -> str:
    """A token as no library would make it."""

    def part(raw: bytes) -> bytes:
        return base64.urlsafe_b64encode(raw).rstrip(b"=")

    body = part(json.dumps(header).encode()) + b"." + part(json.dumps(payload).encode())
    return (body + b"." + part(sign(body))).decode()


def refused(verifier: TokenVerifier, token: str) -> tuple[str, dict[str, str]]:
    with pytest.raises(Refusal) as caught:
        verifier.verify(token)
    return caught.value.reason_name, caught.value.metadata


@pytest.mark.parametrize("key", [ED, P256], ids=["EdDSA", "ES256"])
def test_an_issued_token_names_its_principal(verifier: TokenVerifier, key: SigningKey) -> None:
    token = issue_token(key, ALICE, now=START, lifetime=timedelta(minutes=5))
    assert verifier.verify(token) == ALICE


def test_a_token_without_a_device_has_none(verifier: TokenVerifier) -> None:
    assert verifier.verify(signed(claims(dev=...))).device_id == ""


def test_one_audience_among_several_is_enough(verifier: TokenVerifier) -> None:
    assert verifier.verify(signed(claims(aud=["other", "selene"]))).subject == "alice"


@pytest.mark.parametrize(
    ("changes", "reason", "metadata"),
    [
        ({"exp": int(START.timestamp()) - 31}, "TOKEN_EXPIRED", {"cause": "exp"}),
        ({"iat": int(START.timestamp()) + 31}, "TOKEN_EXPIRED", {"cause": "iat"}),
        ({"nbf": int(START.timestamp()) + 31}, "TOKEN_EXPIRED", {"cause": "nbf"}),
        ({"aud": "elsewhere"}, "TOKEN_WRONG_AUDIENCE", {"expected": "selene"}),
        ({"aud": []}, "TOKEN_WRONG_AUDIENCE", {"expected": "selene"}),
        ({"aud": None}, "TOKEN_WRONG_AUDIENCE", {"expected": "selene"}),
        ({"iss": "impostor"}, "TOKEN_WRONG_AUDIENCE", {"expected": "selene"}),
        *(({name: ...}, "TOKEN_INVALID", {"cause": f"claim:{name}"}) for name in auth.REQUIRED_CLAIMS),
        ({"tid": ""}, "TOKEN_INVALID", {"cause": "claim:tid"}),
        ({"tid": 7}, "TOKEN_INVALID", {"cause": "claim:tid"}),
        ({"sub": "a" * 257}, "TOKEN_INVALID", {"cause": "claim:sub"}),
        ({"sub": "a\nb"}, "TOKEN_INVALID", {"cause": "claim:sub"}),
        ({"dev": ["d"]}, "TOKEN_INVALID", {"cause": "claim:dev"}),
        ({"roles": "operator"}, "TOKEN_INVALID", {"cause": "claim:roles"}),
        ({"roles": [1]}, "TOKEN_INVALID", {"cause": "claim:roles"}),
        ({"roles": ["r"] * 33}, "TOKEN_INVALID", {"cause": "claim:roles"}),
        ({"exp": "tomorrow"}, "TOKEN_INVALID", {"cause": "claim:exp"}),
        ({"exp": True}, "TOKEN_INVALID", {"cause": "claim:exp"}),
        ({"exp": float("nan")}, "TOKEN_INVALID", {"cause": "claim:exp"}),
        ({"exp": 1e300}, "TOKEN_INVALID", {"cause": "claim:exp"}),
        ({"iat": -1}, "TOKEN_INVALID", {"cause": "claim:iat"}),
    ],
    ids=str,
)
def test_claims_that_are_not_accepted(
    verifier: TokenVerifier, changes: dict[str, Any], reason: str, metadata: dict[str, str]
) -> None:
    assert refused(verifier, signed(claims(**changes))) == (reason, metadata)


@pytest.mark.parametrize("claim", ["exp", "iat", "nbf"])
def test_times_are_accepted_within_thirty_seconds_of_skew(verifier: TokenVerifier, claim: str) -> None:
    skewed = int(START.timestamp()) + (-29 if claim == "exp" else 29)
    assert verifier.verify(signed(claims(**{claim: skewed}))) == ALICE


def test_a_token_signed_by_another_key_under_a_known_kid_is_refused(verifier: TokenVerifier) -> None:
    stranger = auth.generate_signing_key()
    assert refused(verifier, signed(claims(), stranger, kid=ED.kid)) == ("TOKEN_INVALID", {"cause": "signature"})


def test_a_key_serves_only_the_algorithm_it_is_listed_for(verifier: TokenVerifier) -> None:
    assert refused(verifier, signed(claims(), P256, kid=ED.kid)) == ("TOKEN_INVALID", {"cause": "algorithm"})


@pytest.mark.parametrize("algorithm", ["none", "None", "NONE", "nOnE", "", "HS256", "RS256", "ES384", None, 1])
def test_other_algorithms_are_refused_even_unsigned(verifier: TokenVerifier, algorithm: object) -> None:
    token = assembled({"alg": algorithm, "kid": ED.kid, "typ": "JWT"}, claims(), lambda _: b"")
    reason, metadata = refused(verifier, token)
    assert reason == "TOKEN_INVALID"
    assert metadata["cause"] in {"algorithm", "format"}


def test_a_public_key_is_not_a_shared_secret(verifier: TokenVerifier) -> None:
    public = P256.private_key.public_key().public_bytes(
        serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
    )
    header = {"alg": "HS256", "kid": P256.kid, "typ": "JWT"}
    token = assembled(header, claims(), lambda body: hmac.digest(public, body, hashlib.sha256))
    assert refused(verifier, token) == ("TOKEN_INVALID", {"cause": "algorithm"})


@pytest.mark.parametrize("kid", ["unknown", None, 5, ["x"]])
def test_an_unknown_or_missing_kid_is_refused(verifier: TokenVerifier, kid: object) -> None:
    header = {"alg": "EdDSA"} | ({} if kid is None else {"kid": kid})
    token = assembled(header, claims(), lambda body: ed25519.Ed25519PrivateKey.generate().sign(body))
    assert refused(verifier, token)[0] == "TOKEN_INVALID"


@pytest.mark.parametrize("token", ["", ".", "..", "a.b.c", "x" * 9000, "e30.e30.e30", "\x00", "é.é.é"])
def test_text_that_is_not_a_token_is_refused(verifier: TokenVerifier, token: str) -> None:
    assert refused(verifier, token)[0] == "TOKEN_INVALID"


def test_a_changed_payload_is_refused(verifier: TokenVerifier) -> None:
    header, _, signature = signed(claims()).split(".")
    _, payload, _ = signed(claims(tid="t-2")).split(".")
    assert refused(verifier, f"{header}.{payload}.{signature}") == ("TOKEN_INVALID", {"cause": "signature"})


def test_a_token_that_was_accepted_is_refused_once_it_expires(verifier: TokenVerifier, clock: ManualClock) -> None:
    token = signed(claims())
    assert verifier.verify(token) == ALICE
    clock.advance(329)
    assert verifier.verify(token) == ALICE
    clock.advance(2)
    assert refused(verifier, token) == ("TOKEN_EXPIRED", {"cause": "exp"})


class KeyFile:
    def __init__(self, path: Path) -> None:
        self.path = path

    def write(self, *keys: SigningKey) -> None:
        fresh = self.path.with_suffix(".new")
        fresh.write_text(json.dumps({"keys": [key.jwk() for key in keys]}))
        fresh.rename(self.path)


@pytest.fixture
def key_file(tmp_path: Path) -> KeyFile:
    file = KeyFile(tmp_path / "keys.json")
    file.write(ED)
    return file


def test_keys_rotate_without_a_restart(key_file: KeyFile, clock: ManualClock) -> None:
    verifier = TokenVerifier(KeySet(clock, key_file.path), clock, issuer="selene", audience="selene")
    successor = auth.generate_signing_key()
    old, new = signed(claims()), signed(claims(), successor)
    assert verifier.verify(old) == ALICE
    assert refused(verifier, new)[0] == "TOKEN_INVALID"

    key_file.write(ED, successor)
    clock.advance(2)
    assert verifier.verify(old) == verifier.verify(new) == ALICE

    key_file.write(successor)
    clock.advance(2)
    assert refused(verifier, old) == ("TOKEN_INVALID", {"cause": "kid"})
    assert verifier.verify(new) == ALICE


def test_a_spoiled_key_file_leaves_the_last_good_keys_until_it_is_repaired(
    key_file: KeyFile, clock: ManualClock
) -> None:
    keys = KeySet(clock, key_file.path)
    key_file.path.write_text('{"keys": [')
    clock.advance(2)
    keys.refresh()
    assert keys.get(ED.kid) is not None
    assert "not a usable key set" in keys.failure

    key_file.write(P256)
    clock.advance(2)
    keys.refresh()
    assert (keys.get(ED.kid), keys.failure) == (None, "")
    assert keys.get("p256") is not None


def jwks(*entries: dict[str, Any]) -> str:
    return json.dumps({"keys": list(entries)})


@pytest.mark.parametrize(
    "text",
    [
        "",
        "[]",
        "{}",
        jwks(),
        jwks(ED.jwk(), ED.jwk()),
        jwks(ED.jwk() | {"kid": ""}),
        jwks({name: value for name, value in ED.jwk().items() if name != "alg"}),
        jwks(ED.jwk() | {"alg": "ES256"}),
        jwks(ED.jwk() | {"alg": "HS256", "kty": "oct"}),
        jwks(ED.jwk() | {"x": "AAAA"}),
        jwks(P256.jwk() | {"x": P256.jwk()["y"]}),
        jwks(P256.jwk() | {"crv": "P-384"}),
    ],
)
def test_a_key_file_that_cannot_be_used_is_refused(text: str) -> None:
    with pytest.raises(KeyFileError):
        auth.parse_keys(text, "keys.json")


def test_a_private_key_among_public_keys_is_refused_and_not_shown() -> None:
    with pytest.raises(KeyFileError) as caught:
        auth.parse_keys(jwks(ED.jwk() | {"d": "c2VjcmV0LXNjYWxhcg"}), "keys.json")
    assert "private key" in str(caught.value)
    assert "c2VjcmV0" not in str(caught.value)


def test_a_written_signing_key_is_for_its_owner_only_and_is_never_replaced(tmp_path: Path) -> None:
    path = tmp_path / "deep" / "key.pem"
    auth.write_signing_key(path, ED)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert auth.load_signing_key(path).kid == ED.kid
    with pytest.raises(FileExistsError):
        auth.write_signing_key(path, auth.generate_signing_key())
    assert [entry.name for entry in path.parent.iterdir()] == ["key.pem"]


def test_a_key_of_another_curve_cannot_sign(tmp_path: Path) -> None:
    path = tmp_path / "key.pem"
    path.write_bytes(
        ec.generate_private_key(ec.SECP384R1()).private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        )
    )
    with pytest.raises(KeyFileError, match="Ed25519 or P-256"):
        auth.load_signing_key(path)


def as_caller(principal: Principal, check: Callable[[], Principal]) -> str:
    """The reason that the check refuses the principal with; empty if it does not."""

    def attempt() -> str:
        auth.set_principal(principal)
        try:
            assert check() == principal
        except Refusal as refusal:
            return refusal.reason_name
        return ""

    return copy_context().run(attempt)


UNBOUND = Principal("t-1", "alice", "", frozenset({"user"}))
OPERATOR = Principal("t-1", "olga", "", frozenset({"operator"}))
SERVICE = Principal("t-1", "turn", "", frozenset({"service"}))
BOUND_SERVICE = Principal("t-1", "turn", "box-1", frozenset({"service"}))


@pytest.mark.parametrize(
    ("principal", "check", "reason"),
    [
        (ALICE, lambda: auth.require_tenant("t-1"), ""),
        (ALICE, lambda: auth.require_tenant("t-2"), "TENANT_MISMATCH"),
        (ALICE, lambda: auth.require_tenant(""), "TENANT_MISMATCH"),
        (SERVICE, lambda: auth.require_tenant("t-2"), "TENANT_MISMATCH"),
        (ALICE, lambda: auth.require_device("phone-1"), ""),
        (ALICE, lambda: auth.require_device("phone-2"), "DEVICE_MISMATCH"),
        (ALICE, lambda: auth.require_device(""), "DEVICE_MISMATCH"),
        (UNBOUND, lambda: auth.require_device("phone-1"), "DEVICE_MISMATCH"),
        (UNBOUND, lambda: auth.require_device(""), "DEVICE_MISMATCH"),
        (OPERATOR, lambda: auth.require_device("phone-1"), "DEVICE_MISMATCH"),
        (SERVICE, lambda: auth.require_device("phone-1"), ""),
        (BOUND_SERVICE, lambda: auth.require_device("phone-1"), "DEVICE_MISMATCH"),
        (ALICE, lambda: auth.require_subject("alice"), ""),
        (ALICE, lambda: auth.require_subject("bob"), "SUBJECT_MISMATCH"),
        (OPERATOR, lambda: auth.require_subject("bob"), ""),
        (OPERATOR, lambda: auth.require_subject("bob", or_roles=()), "SUBJECT_MISMATCH"),
        (ALICE, lambda: auth.require_role("user", "operator"), ""),
        (ALICE, lambda: auth.require_role("operator"), "ROLE_REQUIRED"),
        (ALICE, lambda: auth.require_role(), "ROLE_REQUIRED"),
    ],
)
def test_what_a_caller_may_speak_for(principal: Principal, check: Callable[[], Principal], reason: str) -> None:
    assert as_caller(principal, check) == reason


def test_without_a_caller_nothing_is_granted() -> None:
    with pytest.raises(Refusal) as caught:
        copy_context().run(auth.require_tenant, "t-1")
    assert caught.value.reason_name == "TOKEN_MISSING"

"""Who is calling: bearer tokens (JWT), the keys that sign them, and what a caller may speak for (ALL-3)."""

import base64
import hashlib
import json
import os
import tempfile
from collections.abc import Iterable, Mapping
from contextvars import ContextVar
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any, Final

import jwt
import structlog
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519
from selene.common.v1 import error_reason_pb2 as reasons

from servers.runtime.clock import Clock
from servers.runtime.errors import Refusal

ALGORITHMS: Final = ("EdDSA", "ES256")
CLOCK_SKEW: Final = timedelta(seconds=30)
REQUIRED_CLAIMS: Final = ("exp", "iat", "aud", "iss", "sub", "tid", "roles")

ROLE_USER: Final = "user"
ROLE_OPERATOR: Final = "operator"
ROLE_SERVICE: Final = "service"
ROLE_DEPLOYMENT_OPERATOR: Final = "deployment-operator"
"""Manages what belongs to the deployment and to no tenant, such as its secrets; `operator` is one tenant's."""

_MAX_TOKEN_CHARS = 8192
_MAX_CLAIM_CHARS = 256
_MAX_ROLES = 32
_CACHED_TOKENS = 4096
_RECHECK_S = 1.0

_log = structlog.get_logger("selene.auth")

PublicKey = ed25519.Ed25519PublicKey | ec.EllipticCurvePublicKey
PrivateKey = ed25519.Ed25519PrivateKey | ec.EllipticCurvePrivateKey


@dataclass(frozen=True, slots=True)
class Principal:
    """The caller, as its token names it. ``device_id`` is empty for a token that is not bound to a device."""

    tenant_id: str
    subject: str
    device_id: str
    roles: frozenset[str]


DEVELOPMENT_PRINCIPAL: Final = Principal(
    "dev", "developer", "", frozenset({ROLE_USER, ROLE_OPERATOR, ROLE_SERVICE, ROLE_DEPLOYMENT_OPERATOR})
)
"""Who calls without a token in the loopback development mode."""

_principal: ContextVar[Principal] = ContextVar("selene_principal")


def current_principal() -> Principal:
    """The caller of the RPC that is being served; refuses with TOKEN_MISSING outside one."""
    principal = _principal.get(None)
    if principal is None:
        raise Refusal(reasons.ERROR_REASON_TOKEN_MISSING, "this call has no caller")
    return principal


def current_principal_or_none() -> Principal | None:
    """The caller, where there is one."""
    return _principal.get(None)


def set_principal(principal: Principal) -> None:
    """Names the caller for the rest of the current task."""
    _principal.set(principal)


def require_tenant(tenant_id: str) -> Principal:
    """The caller, if ``tenant_id`` is its tenant."""
    principal = current_principal()
    if tenant_id != principal.tenant_id:
        raise Refusal(reasons.ERROR_REASON_TENANT_MISMATCH, "the caller speaks for another tenant")
    return principal


def require_device(device_id: str, *, or_roles: Iterable[str] = (ROLE_SERVICE,)) -> Principal:
    """The caller, if its token is bound to ``device_id``. A token bound to no device needs one of ``or_roles``."""
    principal = current_principal()
    if principal.device_id:
        speaks_for_it = principal.device_id == device_id
    else:
        speaks_for_it = not principal.roles.isdisjoint(or_roles)
    if not speaks_for_it:
        raise Refusal(reasons.ERROR_REASON_DEVICE_MISMATCH, "the token does not speak for this device")
    return principal


def require_subject(subject: str, *, or_roles: Iterable[str] = (ROLE_SERVICE, ROLE_OPERATOR)) -> Principal:
    """The caller, if it is ``subject`` itself or holds one of ``or_roles``."""
    principal = current_principal()
    if principal.subject != subject and principal.roles.isdisjoint(or_roles):
        raise Refusal(reasons.ERROR_REASON_SUBJECT_MISMATCH, "the token does not speak for this user")
    return principal


def require_role(*any_of: str) -> Principal:
    """The caller, if it holds at least one of the roles."""
    principal = current_principal()
    if principal.roles.isdisjoint(any_of):
        raise Refusal(reasons.ERROR_REASON_ROLE_REQUIRED, "the token lacks a role", any_of=",".join(sorted(any_of)))
    return principal


class KeyFileError(ValueError):
    """A key file that cannot be used; the text names the file and what is wrong, never key material."""


@dataclass(frozen=True, slots=True)
class VerificationKey:
    """A public key and the one algorithm it may verify."""

    kid: str
    algorithm: str
    public_key: PublicKey


@dataclass(frozen=True, slots=True)
class SigningKey:
    """A private key that mints tokens."""

    kid: str
    private_key: PrivateKey

    @property
    def algorithm(self) -> str:
        return "EdDSA" if isinstance(self.private_key, ed25519.Ed25519PrivateKey) else "ES256"

    def verification_key(self) -> VerificationKey:
        return VerificationKey(self.kid, self.algorithm, self.private_key.public_key())

    def jwk(self) -> dict[str, str]:
        """The public half as a JWK, as a key file holds it."""
        return to_jwk(self.verification_key())


def to_jwk(key: VerificationKey) -> dict[str, str]:
    """The key as a JWK (RFC 7517, RFC 8037) with its ``kid`` and ``alg``."""
    public = key.public_key
    common = {"kid": key.kid, "alg": key.algorithm, "use": "sig"}
    if isinstance(public, ed25519.Ed25519PublicKey):
        return common | {"kty": "OKP", "crv": "Ed25519", "x": _b64(public.public_bytes_raw())}
    numbers = public.public_numbers()
    return common | {"kty": "EC", "crv": "P-256", "x": _b64(numbers.x.to_bytes(32)), "y": _b64(numbers.y.to_bytes(32))}


def parse_keys(text: str, source: str) -> dict[str, VerificationKey]:
    """The keys of a JWKS document by ``kid``: Ed25519 with ``EdDSA`` or P-256 with ``ES256``, public halves only."""
    try:
        entries = json.loads(text)["keys"]
        keys = [_parse_jwk(entry) for entry in entries]
    except (KeyError, TypeError, ValueError) as defect:
        raise KeyFileError(f"{source}: not a usable key set ({type(defect).__name__}: {defect})") from None
    by_kid = {key.kid: key for key in keys}
    if not keys or len(by_kid) != len(keys):
        raise KeyFileError(f"{source}: a key set holds at least one key, and each `kid` once")
    return by_kid


def _parse_jwk(entry: Mapping[str, Any]) -> VerificationKey:
    if "d" in entry:
        raise ValueError("a private key in a file of public keys")
    kid, algorithm = entry["kid"], entry["alg"]
    if not isinstance(kid, str) or not kid:
        raise ValueError("`kid` is empty")
    match algorithm, entry["kty"], entry["crv"]:
        case "EdDSA", "OKP", "Ed25519":
            return VerificationKey(kid, algorithm, ed25519.Ed25519PublicKey.from_public_bytes(_unb64(entry["x"])))
        case "ES256", "EC", "P-256":
            x, y = int.from_bytes(_unb64(entry["x"])), int.from_bytes(_unb64(entry["y"]))
            return VerificationKey(kid, algorithm, ec.EllipticCurvePublicNumbers(x, y, ec.SECP256R1()).public_key())
    raise ValueError("only EdDSA with Ed25519 and ES256 with P-256 are accepted")


class KeySet:
    """The verification keys of a file, read again when the file changes: keys rotate without a restart.

    A changed file that cannot be read or parsed leaves the last good keys in force; ``failure`` says what is wrong.
    """

    def __init__(self, clock: Clock, path: Path | None = None, always: Iterable[VerificationKey] = ()) -> None:
        """``always`` are keys that hold beside the file's. Raises KeyFileError if the file cannot be used."""
        self._clock = clock
        self._path = path
        self._always = {key.kid: key for key in always}
        self._stamp = _stamp(path) if path and path.exists() else None
        self._keys = self._always | (_read_keys(path) if path else {})
        self._checked_at = clock.monotonic()
        self.generation = 0
        self.failure = ""

    def get(self, kid: str) -> VerificationKey | None:
        return self._keys.get(kid)

    def refresh(self) -> None:
        """Looks at the file at most once a second."""
        now = self._clock.monotonic()
        if self._path is None or now - self._checked_at < _RECHECK_S:
            return
        self._checked_at = now
        try:
            stamp = _stamp(self._path)
            if stamp == self._stamp and not self.failure:
                return
            self._keys = self._always | _read_keys(self._path)
        except (KeyFileError, OSError) as defect:
            if not self.failure:
                _log.error("key file not usable, the last good keys stay", path=str(self._path), why=str(defect))
            self.failure = str(defect)
            return
        self._stamp, self.failure = stamp, ""
        self.generation += 1


def _read_keys(path: Path) -> dict[str, VerificationKey]:
    try:
        return parse_keys(path.read_text(encoding="utf-8"), str(path))
    except (OSError, UnicodeDecodeError) as defect:
        raise KeyFileError(f"{path}: {defect}") from None


def _stamp(path: Path) -> tuple[int, int, int]:
    status = path.stat()
    return status.st_ino, status.st_size, status.st_mtime_ns


class TokenVerifier:
    """Turns a bearer token into a Principal, or refuses.

    A verified token is remembered until it expires or the keys change, because a signature check costs more than
    everything else that happens to a unary call.
    """

    def __init__(self, keys: KeySet, clock: Clock, *, issuer: str, audience: str) -> None:
        self._keys = keys
        self._clock = clock
        self._issuer = issuer
        self._audience = audience
        self._verified: dict[str, tuple[Principal, datetime]] = {}
        self._generation = keys.generation

    @property
    def keys(self) -> KeySet:
        return self._keys

    def verify(self, token: str) -> Principal:
        """Refuses with TOKEN_INVALID, TOKEN_EXPIRED or TOKEN_WRONG_AUDIENCE."""
        self._keys.refresh()
        if self._generation != self._keys.generation:
            self._generation = self._keys.generation
            self._verified.clear()
        now = self._clock.now()
        known = self._verified.get(token)
        if known is not None and now < known[1]:
            return known[0]
        claims = self._claims(token)
        expires = _checked_times(claims, now)
        self._check_parties(claims)
        principal = _principal_of(claims)
        if len(self._verified) >= _CACHED_TOKENS:
            self._verified.clear()
        self._verified[token] = principal, expires
        return principal

    def _claims(self, token: str) -> dict[str, Any]:
        if len(token) > _MAX_TOKEN_CHARS:
            raise _invalid("length")
        try:
            header = jwt.get_unverified_header(token)
        except jwt.InvalidTokenError:
            raise _invalid("format") from None
        if header.get("alg") not in ALGORITHMS:
            raise _invalid("algorithm")
        kid = header.get("kid")
        key = self._keys.get(kid) if isinstance(kid, str) else None
        if key is None:
            raise _invalid("kid")
        if header["alg"] != key.algorithm:
            raise _invalid("algorithm")
        try:
            # Times and parties are checked here, against this server's clock; the library checks the signature.
            claims: dict[str, Any] = jwt.decode(
                token,
                key.public_key,
                algorithms=[key.algorithm],
                options={
                    "verify_exp": False,
                    "verify_nbf": False,
                    "verify_iat": False,
                    "verify_aud": False,
                    "verify_iss": False,
                    "verify_sub": False,
                    "verify_jti": False,
                },
            )
        except jwt.InvalidSignatureError:
            raise _invalid("signature") from None
        except jwt.InvalidTokenError:
            raise _invalid("format") from None
        for name in REQUIRED_CLAIMS:
            if name not in claims:
                raise _invalid(f"claim:{name}")
        return claims

    def _check_parties(self, claims: Mapping[str, Any]) -> None:
        audiences = claims["aud"] if isinstance(claims["aud"], list) else [claims["aud"]]
        if self._audience not in audiences:
            raise _wrong_audience("the token was made for another audience", self._audience)
        if claims["iss"] != self._issuer:
            raise _wrong_audience("the token was made by another issuer", self._issuer)


def _checked_times(claims: Mapping[str, Any], now: datetime) -> datetime:
    """When the token stops being accepted."""
    seconds = now.timestamp()
    skew = CLOCK_SKEW.total_seconds()
    for name in ("exp", "iat", "nbf"):
        value = claims.get(name, 0)
        if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value < 1 << 40:
            raise _invalid(f"claim:{name}")
    if seconds >= claims["exp"] + skew:
        raise _expired("the token has expired", "exp")
    for name in ("iat", "nbf"):
        if seconds < claims.get(name, 0) - skew:
            raise _expired("the token is not valid yet", name)
    return now + timedelta(seconds=claims["exp"] + skew - seconds)


def _principal_of(claims: Mapping[str, Any]) -> Principal:
    for name in ("tid", "sub"):
        if not _is_name(claims[name]):
            raise _invalid(f"claim:{name}")
    device_id = claims.get("dev", "")
    if device_id != "" and not _is_name(device_id):
        raise _invalid("claim:dev")
    roles = claims["roles"]
    if not isinstance(roles, list) or len(roles) > _MAX_ROLES or not all(_is_name(role) for role in roles):
        raise _invalid("claim:roles")
    return Principal(claims["tid"], claims["sub"], device_id, frozenset(roles))


def _is_name(value: object) -> bool:
    return isinstance(value, str) and 0 < len(value) <= _MAX_CLAIM_CHARS and value.isprintable()


def _invalid(cause: str) -> Refusal:
    return Refusal(reasons.ERROR_REASON_TOKEN_INVALID, "the token is not accepted", cause=cause)


def _expired(message: str, cause: str) -> Refusal:
    return Refusal(reasons.ERROR_REASON_TOKEN_EXPIRED, message, cause=cause)


def _wrong_audience(message: str, expected: str) -> Refusal:
    return Refusal(reasons.ERROR_REASON_TOKEN_WRONG_AUDIENCE, message, expected=expected)


def issue_token(
    key: SigningKey,
    principal: Principal,
    *,
    now: datetime,
    lifetime: timedelta,
    issuer: str = "selene",
    audience: str = "selene",
) -> str:
    """A signed token for the principal, valid from ``now`` for ``lifetime``."""
    claims: dict[str, Any] = {
        "iss": issuer,
        "aud": audience,
        "sub": principal.subject,
        "tid": principal.tenant_id,
        "roles": sorted(principal.roles),
        "iat": int(now.timestamp()),
        "exp": int((now + lifetime).timestamp()),
    }
    if principal.device_id:
        claims["dev"] = principal.device_id
    return jwt.encode(claims, key.private_key, algorithm=key.algorithm, headers={"kid": key.kid})


def generate_signing_key() -> SigningKey:
    """A new Ed25519 key whose ``kid`` is derived from its public half."""
    return _named(ed25519.Ed25519PrivateKey.generate())


def load_signing_key(path: Path) -> SigningKey:
    """Reads a PEM private key (Ed25519 or P-256); its ``kid`` is derived from its public half."""
    try:
        private = serialization.load_pem_private_key(path.read_bytes(), password=None)
    except (OSError, ValueError, TypeError) as defect:
        raise KeyFileError(f"{path}: not a readable private key ({type(defect).__name__})") from None
    is_p256 = isinstance(private, ec.EllipticCurvePrivateKey) and isinstance(private.curve, ec.SECP256R1)
    if not isinstance(private, ed25519.Ed25519PrivateKey) and not is_p256:
        raise KeyFileError(f"{path}: an Ed25519 or P-256 key is needed")
    return _named(private)  # type: ignore[arg-type]  # narrowed by the two checks above, which mypy cannot combine


def write_signing_key(path: Path, key: SigningKey) -> None:
    """Writes the key as PEM, readable by its owner only; refuses to replace a file."""
    pem = key.private_key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    write_secret(path, pem)


def make_data_dir(path: Path) -> None:
    """Creates the folder of the store and its keys, with a `.gitignore` of it all; one that is there is left alone."""
    try:
        path.mkdir(parents=True)
    except FileExistsError:
        if not path.is_dir():
            raise
    else:
        (path / ".gitignore").write_text("*\n")


def write_secret(path: Path, content: bytes) -> None:
    """Creates the file with mode 0600; raises FileExistsError rather than replace one."""
    path.parent.mkdir(parents=True, exist_ok=True)
    descriptor, temporary = tempfile.mkstemp(dir=path.parent)  # mode 0600
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        os.link(temporary, path)  # unlike a rename, never replaces
    finally:
        Path(temporary).unlink()


def _named(private: PrivateKey) -> SigningKey:
    public = private.public_key().public_bytes(
        serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo
    )
    return SigningKey(hashlib.sha256(public).hexdigest()[:16], private)


def _b64(raw: bytes) -> str:
    return base64.urlsafe_b64encode(raw).rstrip(b"=").decode()


def _unb64(text: str) -> bytes:
    return base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))

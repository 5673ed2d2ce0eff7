"""A token leaves this machine only over TLS, and every call names its correlation."""

import base64
import json

import pytest

import clients
from clients.channel import is_loopback, with_port
from clients.credentials import TokenSource, TokenUnreadable, read_claims


def jwt(claims: dict[str, object]) -> str:
    def part(value: object) -> str:
        return base64.urlsafe_b64encode(json.dumps(value).encode()).rstrip(b"=").decode()

    return f"{part({'alg': 'EdDSA'})}.{part(claims)}.c2ln"


@pytest.mark.parametrize(
    ("target", "loopback"),
    [
        ("127.0.0.1:7443", True),
        ("127.9.9.9:1", True),
        ("localhost:7443", True),
        ("[::1]:7443", True),
        ("ipv6:[::1]:7443", True),
        ("ipv4:127.0.0.1:7443", True),
        ("dns:///localhost:7443", True),
        ("unix:/run/selene.sock", True),
        ("10.0.0.1:7443", False),
        ("selene.example:7443", False),
        ("dns:///selene.example:7443", False),
        ("localhost.example:7443", False),
        ("127.0.0.1.example:7443", False),
        ("ipv4:127.0.0.1:7443,10.0.0.1:7443", False),
        ("0.0.0.0:7443", False),
        ("[2001:db8::1]:7443", False),
        ("", False),
    ],
)
def test_loopback_is_told_from_elsewhere(target, loopback):
    assert is_loopback(target) is loopback


@pytest.mark.parametrize(
    ("target", "dialled"),
    [
        ("127.0.0.1", "127.0.0.1:7401"),
        ("selene.example", "selene.example:7401"),
        ("::1", "[::1]:7401"),
        ("[::1]", "[::1]:7401"),
        ("[::1]:9", "[::1]:9"),
        ("selene.example:9", "selene.example:9"),
        ("unix:/run/selene.sock", "unix:/run/selene.sock"),
    ],
)
def test_a_host_gets_a_port_and_an_address_keeps_its_own(target, dialled):
    assert with_port(target, 7401) == dialled


async def test_a_token_is_refused_in_the_clear_beyond_loopback():
    with pytest.raises(clients.InsecureToken, match=r"selene\.example") as refused:
        clients.connect("selene.example:7443", token="secret")
    assert "secret" not in str(refused.value)


async def test_a_token_travels_on_loopback_and_beyond_it_over_tls():
    async with clients.connect("127.0.0.1:1", token="t") as near:
        assert ("authorization", "Bearer t") in near.metadata()
    async with clients.connect("selene.example:7443", token="t", tls=clients.Tls()) as far:
        assert ("authorization", "Bearer t") in far.metadata()


async def test_each_call_has_its_own_correlation_id_unless_one_is_given():
    async with clients.connect("127.0.0.1:1") as connection:
        assert connection.metadata() != connection.metadata()
        assert connection.metadata("c-1") == (("x-correlation-id", "c-1"),)


async def test_a_rotated_token_file_is_read_again(tmp_path):
    path = tmp_path / "token"
    path.write_text("first\n")
    source = TokenSource(path=path)
    assert source.read() == "first"
    path.write_text("second token\n")
    assert source.read() == "second token"


@pytest.mark.parametrize("content", [None, "", "\n"])
def test_a_token_file_without_a_token_is_an_error_and_not_an_anonymous_call(tmp_path, content):
    path = tmp_path / "token"
    if content is not None:
        path.write_text(content)
    with pytest.raises(TokenUnreadable):
        TokenSource(path=path).read()


def test_half_a_client_certificate_is_refused(tmp_path):
    with pytest.raises(ValueError, match="both"):
        clients.Tls(certificate=tmp_path / "cert.pem").credentials()


def test_claims_are_read_without_verifying():
    claims = read_claims(jwt({"tid": "acme", "sub": "mira", "dev": "kitchen", "roles": ["user"], "exp": 1_900_000_000}))
    assert (claims.tenant_id, claims.subject, claims.device_id, claims.roles) == ("acme", "mira", "kitchen", ("user",))
    assert claims.expires_at is not None and claims.expires_at.year == 2030


@pytest.mark.parametrize("token", ["", "abc", "a.b.c", "a.W10.c", "a.eyJyb2xlcyI6NX0.c"])
def test_what_is_no_jwt_is_unreadable(token):
    with pytest.raises(TokenUnreadable):
        read_claims(token)


async def test_tenant_and_device_come_from_the_token(double):
    async with clients.connect(double.target, token=jwt({"tid": "acme", "dev": "kitchen"})) as connection:
        await clients.VoiceId(connection).create_enrollment("mira", consent_ref="c")
    assert (double.requests[0].tenant_id, double.requests[0].device_id) == ("acme", "kitchen")

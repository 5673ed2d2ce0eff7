"""Where vendors are, as operators write it: nothing secret in it, and no key in clear beyond this machine (RTE-6)."""

from __future__ import annotations

import re
from ipaddress import ip_address
from typing import Final
from urllib.parse import urlsplit

from servers.routing.secrets import has_secret_shape

_ENDPOINT: Final = re.compile(r"(?P<host>[A-Za-z0-9.-]+|\[[0-9A-Fa-f:.]+\]):(?P<port>[0-9]{1,5})")
_HIGHEST_PORT: Final = 65_535


def check_base_url(url: str, *, keyed: bool) -> None:
    """ValueError unless it is http(s)://host, perhaps with a port and a path; https beyond loopback where a key goes
    with the calls.
    """
    if has_secret_shape(url):
        raise ValueError("`base_url` carries a secret")
    try:
        where = urlsplit(url)
        port = where.port
    except ValueError:
        raise ValueError("`base_url` is no URL") from None
    if where.scheme not in ("http", "https") or not where.hostname or port == 0 or not url.isprintable() or " " in url:
        raise ValueError("`base_url` is https://host/path")
    if where.username is not None or where.password is not None or where.query or where.fragment:
        raise ValueError("`base_url` holds no credential, no query and no fragment")
    if keyed and where.scheme == "http" and where.hostname != "localhost" and not _is_loopback(where.hostname):
        raise ValueError("`base_url` beyond loopback is https, or the key would be read on the way")


def check_endpoint(endpoint: str, *, plaintext: bool) -> None:
    """ValueError unless it is host:port; a loopback address where nothing is encrypted."""
    found = _ENDPOINT.fullmatch(endpoint)
    if found is None or not 0 < int(found["port"]) <= _HIGHEST_PORT:
        raise ValueError("`endpoint` is host:port")
    if plaintext and not _is_loopback(found["host"].strip("[]")):
        raise ValueError("`plaintext` is for loopback only")


def _is_loopback(address: str) -> bool:
    try:
        return ip_address(address).is_loopback
    except ValueError:
        return False

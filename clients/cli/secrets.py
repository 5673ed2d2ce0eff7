"""`selene secrets`: what the deployment's provider secrets are called, and their rotation, revocation and leases.

They belong to the deployment: its own operators' tokens (role `deployment-operator`) manage them, no tenant's.

A secret is read from stdin or a file, never from an argument, which every process of the machine could read.
"""

import re
import sys
from collections.abc import Sequence
from datetime import datetime, timedelta
from pathlib import Path
from typing import Annotated, Final, Literal

import typer
from rich.table import Column, Table
from rich.text import Text
from selene_messages.selene.kms import v1

from clients.cli.registry import Commands
from clients.cli.session import EXIT_CODES, USAGE, Session, remote
from clients.secrets import Secrets, SecretUnusable
from clients.wire import to_document

_ENGINES: Final = {"stt": "PH1.C", "tts": "PH1.TTS", "llm": "PH1.D", "delivery": "PH1.DELIVERY"}
_ENGINE: Final = re.compile(r"PH1\.[A-Z0-9_.]{1,32}")


def _engine(name: str) -> str:
    """The engine of an owner that is named by itself or by its engine. typer.BadParameter."""
    if _ENGINE.fullmatch(name):
        return name
    if name not in _ENGINES:
        known = ", ".join(f"{owner} ({engine})" for owner, engine in _ENGINES.items())
        raise typer.BadParameter(f"there is no owner {name!r} that uses secrets; there are {known}")
    return _ENGINES[name]


def _engines(names: list[str]) -> list[str]:
    return [_engine(name) for name in names]


EnvironmentName = Literal["dev", "stage", "prod"]

_Handle = Annotated[str, typer.Argument(help="kms://providers/<vendor>/<use> or kms://delivery/<channel>/<account>")]
_Environment = Annotated[EnvironmentName, typer.Option("--environment", "-e", help="Sets how often it must be rotated")]
_Grants = Annotated[
    list[str],
    typer.Option(
        "--grant", "-g", help="Owner that may lease it: stt, tts, llm, delivery; repeatable", callback=_engines
    ),
]
_File = Annotated[Path | None, typer.Option("--file", help="Read the secret from this file instead of stdin")]
_Overlap = Annotated[int | None, typer.Option("--overlap", help="Minutes that old leases live on (60)", min=0, max=60)]
_Reason = Annotated[str, typer.Option("--reason", help="Why, for the trail")]
_Yes = Annotated[bool, typer.Option("--yes", help="Do not ask: revoking cannot be undone")]
_Owner = Annotated[
    str, typer.Option("--owner", help="Owner that will use it: stt, tts, llm, delivery", callback=_engine)
]
_Minutes = Annotated[int | None, typer.Option("--minutes", help="How long it lasts (5)", min=1, max=60)]


def register(commands: Commands) -> None:
    """Adds the commands of the secrets owner."""
    secrets = commands.group(
        "secrets", help_text="Provider secrets (role deployment-operator): put, rotate, revoke, lease. Never shown."
    )
    for name, command in (
        ("list", secrets_list),
        ("show", secrets_show),
        ("put", secrets_put),
        ("rotate", secrets_rotate),
        ("revoke", secrets_revoke),
        ("lease", secrets_lease),
    ):
        secrets.command(name, epilog=EXIT_CODES)(remote(command, owner="kms"))


async def secrets_list(session: Session) -> None:
    """List what is known of every secret, by handle.

    \b
      selene secrets list --json | jq -r '.secrets[] | select(.rotate_by < (now | todate)).handle'
    """
    found = [secret async for secret in _secrets(session).list()]
    session.output.show({"secrets": [to_document(secret) for secret in found]}, _table(found))


async def secrets_show(session: Session, handle: _Handle) -> None:
    """Show what is known of a secret; never the secret."""
    found = await _secrets(session).get(handle)
    session.output.show(to_document(found), _table([found]))


async def secrets_put(
    session: Session,
    handle: _Handle,
    grant: _Grants,
    environment: _Environment = "dev",
    file: _File = None,
    overlap: _Overlap = None,
) -> int | None:
    """Put a secret under a handle, from stdin or a file; one line break at its end is left away.

    \b
      selene secrets put kms://providers/openai/stt -e prod -g stt < key.txt
    """
    return await _put(session, handle, file, overlap, environment, grant)


async def secrets_rotate(session: Session, handle: _Handle, file: _File = None, overlap: _Overlap = None) -> int | None:
    """Replace a secret by its next version, for the same environment and owners, from stdin or a file.

    \b
      selene secrets rotate kms://providers/openai/stt --file new-key.txt --overlap 10
    """
    return await _put(session, handle, file, overlap)


async def secrets_revoke(session: Session, handle: _Handle, reason: _Reason, yes: _Yes = False) -> int | None:
    """Emergency: the secret and every lease of it end now. Put another one to replace it.

    \b
      selene secrets revoke kms://providers/openai/stt --reason 'found in a log' --yes
    """
    try:
        agreed = yes or (not session.output.as_json and typer.confirm(f"Revoke {handle} and its leases?", err=True))
    except typer.Abort:
        session.output.misuse("nothing was revoked: nobody answered; without a terminal, pass --yes")
        return USAGE
    if not agreed:
        session.output.misuse("nothing was revoked; --yes revokes without asking")
        return USAGE
    reply = await _secrets(session).revoke(handle, reason)
    ended = f"revoked; {reply.leases_ended} running {'lease' if reply.leases_ended == 1 else 'leases'} ended"
    session.output.show(to_document(reply), Text(ended))
    return None


async def secrets_lease(session: Session, handle: _Handle, owner: _Owner, minutes: _Minutes = None) -> None:
    """Make a lease for an owner. Its reference opens nothing without the deployment's store.

    \b
      selene secrets lease kms://providers/openai/stt --owner stt --minutes 10
    """
    reply = await _secrets(session).lease(handle, owner, ttl=_minutes(minutes))
    lease = reply.lease or v1.Lease()
    told = (
        f"lease      {lease.lease_id}",
        f"version    {lease.version}",
        f"expires    {_when(lease.expires_at)}",
        f"reference  {reply.lease_ref}",
    )
    session.output.line(to_document(reply), Text("\n".join(told)))


async def _put(
    session: Session,
    handle: str,
    file: Path | None,
    overlap: int | None,
    environment: EnvironmentName | None = None,
    grants: Sequence[str] = (),
) -> int | None:
    secrets = _secrets(session)
    try:
        secret = _read(handle, file)
        if environment is None:
            made = await secrets.rotate(handle, secret, overlap=_minutes(overlap))
        else:
            made = await secrets.put(
                handle,
                secret,
                environment=v1.Environment[environment.upper()],
                granted_owners=grants,
                overlap=_minutes(overlap),
            )
    except SecretUnusable as error:
        session.output.misuse(str(error))
        return USAGE
    session.output.show(to_document(made), _table([made]))
    return None


def _read(handle: str, file: Path | None) -> bytes:
    """The secret as it was given; typed unseen at a terminal. OSError."""
    if file is not None:
        given = file.read_bytes()
    elif sys.stdin.isatty():
        given = str(typer.prompt(f"Secret for {handle}", hide_input=True, err=True)).encode()
    else:
        given = sys.stdin.buffer.read()
    return given.removesuffix(b"\n").removesuffix(b"\r")


def _secrets(session: Session) -> Secrets:
    return Secrets(session.connection, timeout=session.settings.timeout)


def _table(found: Sequence[v1.SecretInfo]) -> Table:
    handle = Column("handle", no_wrap=True)
    table = Table(handle, "environment", "version", "state", "rotate by", "granted to", box=None, pad_edge=False)
    for secret in found:
        table.add_row(
            Text(secret.handle),
            secret.environment.name or "?",
            str(secret.version),
            secret.state.name or "?",
            secret.rotate_by.date().isoformat() if secret.rotate_by else "-",
            Text(", ".join(secret.granted_owners)),
        )
    return table


def _when(instant: datetime | None) -> str:
    return instant.isoformat(timespec="seconds") if instant else "-"


def _minutes(count: int | None) -> timedelta | None:
    return None if count is None else timedelta(minutes=count)

"""`selene routes`: which provider serves what and why, the profile that says so, and an operator's hand on circuits."""

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import replace
from pathlib import Path
from typing import Annotated, Any, Final, Literal

import typer
from google.protobuf import json_format
from rich.console import Group, RenderableType
from rich.live import Live
from rich.table import Table
from rich.text import Text
from selene.routing.v1.routing_pb2 import ProviderRoutingProfileV1 as ProfileMessage
from selene_messages.selene.routing import v1

from clients.channel import Connection
from clients.cli import routed
from clients.cli.documents import in_words
from clients.cli.reasons import reason_code
from clients.cli.registry import Commands, runs_alone
from clients.cli.session import EXIT_CODES, LOOKED_ON, OK, REFUSED, UNREACHABLE, USAGE, Session, remote
from clients.cli.standings import Standing, clock, view
from clients.errors import SeleneError
from clients.retry import NO_RETRY
from clients.routing import Circuits, Routing
from clients.wire import to_document, to_message, to_wire

OWNERS: Final = ("stt", "tts", "llm")
_ARTIFACT: Final = "PROVIDER_ROUTING_PROFILE_V1"
_EVERY_S: Final = 0.5

ForceName = Literal["open", "closed", "release"]
_FORCES: Final[dict[ForceName, v1.CircuitForce]] = {
    "open": v1.CircuitForce.OPEN,
    "closed": v1.CircuitForce.CLOSED,
    "release": v1.CircuitForce.RELEASED,
}

_Once = Annotated[bool, typer.Option("--once", help="Show the table once; so does output that is no terminal")]
_Prefix = Annotated[str, typer.Argument(help="Only fields that begin so, such as 'providers[openai/stt]'")]
_Version = Annotated[int, typer.Argument(help="Version of the profile", min=1, show_default=False)]
_AnyVersion = Annotated[int, typer.Option("--version", help="Another version than the active one", min=0)]
_Next = Annotated[bool, typer.Option("--next", help="Numbered as the next version, which returns to this one")]
_File = Annotated[Path, typer.Argument(help="The profile as JSON, as `routes show` prints it", show_default=False)]
_Reason = Annotated[
    str,
    typer.Option("--reason", help="Why, in UPPER_SNAKE_CASE, for the trail", show_default=False, callback=reason_code),
]
_Force = Annotated[ForceName, typer.Argument(help="What to do to the circuit", show_default=False)]
_Provider = Annotated[str, typer.Argument(help="The provider, such as openai/stt", show_default=False)]
_OfProvider = Annotated[str, typer.Argument(help="Only this provider", show_default=False)]
_Last = Annotated[int, typer.Option("--last", "-n", help="How many", min=1)]


class ProfileUnreadable(ValueError):
    """A file that holds no profile; the text says where."""


def register(commands: Commands) -> None:
    """Adds `selene routes` and its sub-commands."""
    routes = commands.group("routes", help_text="Which provider serves what, and why.")
    runs_alone(routes, remote(routes_live, owner=OWNERS[0], interrupted=LOOKED_ON), epilog=EXIT_CODES)
    for name, command in (
        ("explain", routes_explain),
        ("show", routes_show),
        ("versions", routes_versions),
        ("validate", routes_validate),
        ("put", routes_put),
        ("activate", routes_activate),
        ("rollback", routes_rollback),
        ("force", routes_force),
        ("history", routes_history),
    ):
        routes.command(name, epilog=EXIT_CODES)(remote(command, owner="llm"))


async def routes_live(
    session: Session,
    once: _Once = False,
    locale: routed.Locale = routed.REFERENCE_LOCALE,
    user: routed.User = "",
    channel: routed.Channel = "",
) -> int:
    """Every provider of speech and language as it stands: live, until Ctrl-C.

    ▶ marks who gets the next call; `last` is what came of the last one, as far as the process that answers knows; `why`
    is what a provider lacks, or why its circuit stands where it does; `decided by` is the layer of the profile that
    gave a provider its place. Rates are those of the process that answers.

    \b
      selene routes
      selene routes --once --locale de-DE --channel car
      selene routes explain --user mira
      selene routes force open openai/stt --reason VENDOR_INCIDENT
    """
    asked = routed.subject(session, locale=locale, user=user, channel=channel)
    async with _circuits(session) as circuits:
        standings = await _standings(circuits, asked)
        out = session.output.out
        if session.output.as_json or once or not out.is_terminal:
            session.output.show({"owners": [_document(each) for each in standings]}, view(standings, out))
            for each in standings:
                if isinstance(each.reply, SeleneError):
                    session.output.note(f"{each.owner}: {session.told(each.reply)}")
            return _exit_code(standings)
        with Live(view(standings, out), console=out, auto_refresh=False) as shown:
            while True:
                await asyncio.sleep(_EVERY_S)
                shown.update(view(await _standings(circuits, asked), out), refresh=True)


async def routes_explain(
    session: Session,
    prefix: _Prefix = "",
    locale: routed.Locale = routed.REFERENCE_LOCALE,
    user: routed.User = "",
    channel: routed.Channel = "",
) -> None:
    """Say which layer of the profile supplied each field, for somebody.

    \b
      selene routes explain --user mira --locale en-GB
      selene routes explain 'providers[openai/stt].priority' --channel car
    """
    asked = routed.subject(session, locale=locale, user=user, channel=channel)
    reply = await _routing(session).explain(asked, prefix)
    rows = Table("field", "layer", "of", box=None, pad_edge=False)
    for field in reply.fields:
        rows.add_row(Text(field.field), (field.layer.name or "?").lower(), Text(field.scope_id))
    session.output.show(to_document(reply), rows)


async def routes_show(session: Session, version: _AnyVersion = 0, following: _Next = False) -> None:
    """Print a version of the profile as protobuf JSON; with --next ready to be edited and put.

    \b
      selene routes show --next > profile.json
      $EDITOR profile.json && selene routes put profile.json && selene routes activate 2 --reason ROLLOUT
    """
    routing = _routing(session)
    reply = await routing.get(version)
    profile = reply.profile or v1.ProviderRoutingProfileV1()
    if following:
        highest = max([each.profile_version async for each in routing.list()], default=0)
        profile = as_next(profile, highest + 1, after=reply.version.profile_version if reply.version else highest)
    session.output.document(profile_document(profile))


async def routes_versions(session: Session) -> None:
    """List every version of the profile, oldest first, and which is active."""
    found = [each async for each in _routing(session).list()]
    session.output.show({"versions": [to_document(each) for each in found]}, _versions(found))


async def routes_validate(session: Session, file: _File) -> int:
    """Say what is wrong with a profile, and what is hardly meant; nothing is kept. Exits with 1 where any is wrong.

    \b
      selene routes validate profile.json
    """
    try:
        reply = await _routing(session).validate(read_profile(file))
    except ProfileUnreadable as error:
        session.output.misuse(str(error))
        return USAGE
    told: list[RenderableType] = [
        _problems("problem", reply.problems) if reply.problems else Text("the profile may serve", style="green")
    ]
    if reply.warnings:
        told.append(_problems("warning", reply.warnings))
    session.output.show(to_document(reply), Group(*told))
    return REFUSED if reply.problems else OK


async def routes_put(session: Session, file: _File) -> int:
    """Register a profile as the next version. It serves nobody until it is activated.

    \b
      selene routes put profile.json && selene routes activate 2 --reason ROLLOUT
    """
    try:
        made = await _routing(session).put(read_profile(file))
    except ProfileUnreadable as error:
        session.output.misuse(str(error))
        return USAGE
    session.output.show(to_document(made), _versions([made]))
    return OK


async def routes_activate(session: Session, version: _Version, reason: _Reason) -> None:
    """Make a registered version the active one; running servers follow within a second.

    \b
      selene routes activate 2 --reason ROLLOUT
    """
    made = await _routing(session).activate(version, reason)
    session.output.show(to_document(made), _versions([made]))


async def routes_rollback(session: Session, reason: _Reason) -> None:
    """Return to what was active before, as a new, higher version.

    \b
      selene routes rollback --reason ERRORS_ROSE
    """
    made = await _routing(session).rollback(reason)
    session.output.show(to_document(made), _versions([made]))


async def routes_force(
    session: Session,
    force: _Force,
    provider: _Provider,
    reason: _Reason,
    locale: routed.Locale = routed.REFERENCE_LOCALE,
    user: routed.User = "",
    channel: routed.Channel = "",
) -> int:
    """Keep a provider's circuit open or closed, or release it to the rules. It lasts until it is released.

    Circuits belong to a resolved profile: whoever has layers of their own is meant with --locale, --user, --channel.

    \b
      selene routes force open openai/stt --reason VENDOR_INCIDENT
      selene routes force release openai/stt --reason INCIDENT_OVER
    """
    asked = routed.subject(session, locale=locale, user=user, channel=channel)
    async with _circuits(session) as circuits:
        standings = await _standings(circuits, asked)
        for each in standings:
            if isinstance(each.reply, SeleneError):
                continue
            if provider in {standing.provider_ref for standing in each.reply.providers}:
                made = await circuits[each.owner].force(provider, each.reply.profile_hash, _FORCES[force], reason)
                session.output.show(to_document(made), Text(f"{provider}: {made.state.name}, {made.reason_code}"))
                return OK
    for each in standings:
        if isinstance(each.reply, SeleneError):
            raise each.reply
    session.output.misuse(f"no owner has a provider {provider}; `selene routes --once` shows them")
    return USAGE


async def routes_history(session: Session, provider: _OfProvider = "", last: _Last = 20) -> None:
    """Show what happened to circuits, latest first; the same is in the audit trail.

    \b
      selene routes history openai/stt -n 50
    """
    found: list[tuple[str, v1.CircuitTransition]] = []
    async with _circuits(session) as circuits:
        for owner, client in circuits.items():
            count = 0
            async for transition in client.transitions(provider, page_size=min(last, 100)):
                found.append((owner, transition))
                count += 1
                if count == last:
                    break
    found.sort(key=lambda each: each[1].at.timestamp() if each[1].at else 0.0, reverse=True)
    rows = Table("at", "owner", "provider", "from", "to", "why", box=None, pad_edge=False)
    for owner, each in found[:last]:
        names = (each.before.name or "?", each.after.name or "?")
        rows.add_row(clock(each.at), owner, Text(each.provider_ref), *names, each.reason_code)
    documents = [{"owner": owner, **to_document(each)} for owner, each in found[:last]]
    session.output.show({"transitions": documents}, rows if found else Text("no circuit has ever changed"))


def as_next(profile: v1.ProviderRoutingProfileV1, version: int, *, after: int) -> v1.ProviderRoutingProfileV1:
    """The same content as another version, whose rollback returns to version ``after``."""
    return replace(
        profile,
        profile_version=version,
        artifact_id=f"{_ARTIFACT}@{version}",
        rollback_pointer_ref=f"{_ARTIFACT}@{after}",
    )


def read_profile(path: Path) -> v1.ProviderRoutingProfileV1:
    """The profile in a file of protobuf JSON. ProfileUnreadable; OSError."""
    try:
        document = json.loads(path.read_text(encoding="utf-8"))
        if not isinstance(document, dict):
            raise ProfileUnreadable(f"{path}: wanted a JSON object")
        return to_message(json_format.ParseDict(document, ProfileMessage()), v1.ProviderRoutingProfileV1)
    except RecursionError:
        raise ProfileUnreadable(f"{path}: nested too deep") from None
    except (json_format.ParseError, UnicodeDecodeError, json.JSONDecodeError) as error:
        raise ProfileUnreadable(f"{path}: {in_words(error)}") from None


def profile_document(profile: v1.ProviderRoutingProfileV1) -> dict[str, Any]:
    """Protobuf JSON with the contract's field names; `read_profile` reads the same profile back."""
    document: dict[str, Any] = json_format.MessageToDict(
        to_wire(profile, ProfileMessage), preserving_proto_field_name=True
    )
    return document


@asynccontextmanager
async def _circuits(session: Session) -> AsyncIterator[dict[str, Circuits]]:
    """A client of each owner's circuits. It tells at once what does not answer."""
    async with AsyncExitStack() as stack:
        made: dict[str, Circuits] = {}
        for owner in OWNERS:
            connection: Connection = await stack.enter_async_context(session.settings.connect(owner))
            made[owner] = Circuits(connection, policy=NO_RETRY, timeout=session.settings.timeout)
        yield made


async def _standings(circuits: dict[str, Circuits], subject: v1.RoutingSubject) -> list[Standing]:
    async def ask(owner: str, client: Circuits) -> Standing:
        try:
            return Standing(owner, await client.providers(subject))
        except SeleneError as error:
            return Standing(owner, error)

    return list(await asyncio.gather(*(ask(owner, client) for owner, client in circuits.items())))


def _document(standing: Standing) -> dict[str, Any]:
    reply = standing.reply
    answer = reply.document() if isinstance(reply, SeleneError) else to_document(reply)
    return {"owner": standing.owner, **answer}


def _exit_code(standings: list[Standing]) -> int:
    errors = [each.reply for each in standings if isinstance(each.reply, SeleneError)]
    if not errors:
        return OK
    return UNREACHABLE if all(error.unreachable for error in errors) else REFUSED


def _routing(session: Session) -> Routing:
    return Routing(session.connection, timeout=session.settings.timeout)


def _problems(kind: str, found: list[v1.ProfileProblem]) -> Table:
    rows = Table(kind, "where", "what", box=None, pad_edge=False)
    for each in found:
        rows.add_row(each.code, Text(each.where, overflow="fold"), Text(each.description))
    return rows


def _versions(found: list[v1.ProfileVersion]) -> Table:
    rows = Table("version", "registered", "", "sha256", box=None, pad_edge=False)
    for each in found:
        state = "active" if each.active else "rollback returns to it" if each.rollback_target else ""
        rows.add_row(str(each.profile_version), clock(each.registered_at), state, each.content_hash.hex()[:16])
    return rows

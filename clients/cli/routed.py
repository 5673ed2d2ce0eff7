"""What commands of the routing owners share: for whom they ask, and how a route reads."""

from datetime import timedelta
from typing import Annotated, Final

import typer
from rich.text import Text
from selene_messages.selene.provider.v1 import ProviderStatus
from selene_messages.selene.routing import v1

from clients.cli.session import Session
from clients.routed import DEFAULT_LOCALE
from clients.voiceid import DEVELOPMENT_TENANT

Locale = Annotated[str, typer.Option("--locale", help="Locale (BCP 47)")]
User = Annotated[str, typer.Option("--user", help="For this user", show_default=False)]
Channel = Annotated[str, typer.Option("--channel", help="As if it came by this channel", show_default=False)]
REFERENCE_LOCALE: Final = DEFAULT_LOCALE


def scope(session: Session, user: str, channel: str) -> v1.RouteScope:
    """For whom a call is; the tenant is the token's unless it was given."""
    return v1.RouteScope(tenant_id=session.settings.tenant, user_id=user, channel=channel)


def subject(session: Session, *, locale: str, user: str, channel: str) -> v1.RoutingSubject:
    """For whom a profile is resolved."""
    tenant_id = session.settings.tenant or session.connection.claims().tenant_id or DEVELOPMENT_TENANT
    return v1.RoutingSubject(tenant_id=tenant_id, locale=locale, channel=channel, user_id=user)


def route_words(route: v1.RouteTaken | None) -> Text:
    """Who was passed over, who was asked and how it ended, in order."""
    if route is None:
        return Text("-")
    told = Text()
    for passed in route.passed_over:
        told.append(f"{passed.provider_ref} {passed.reason_code}, ", style="dim")
    for index, attempt in enumerate(route.attempts):
        done = attempt.status is ProviderStatus.OK
        told.append(" → " if index else "")
        told.append(attempt.provider_ref, style="bold")
        told.append(f" {attempt.reason_code}", style="green" if done else "red")
        told.append(f" {milliseconds(attempt.latency)}" + (" (probe)" if attempt.probe else ""))
    return told.append(f"; profile {route.profile_id}@{route.profile_version}", style="dim")


def switch_words(switched: v1.ProviderSwitched) -> Text:
    """Who goes on instead of whom."""
    again = switched.to_provider_ref == switched.from_provider_ref
    goes_on = "is tried again" if again else f"goes on for {switched.from_provider_ref}"
    return Text(f"{switched.to_provider_ref} {goes_on}: {switched.reason_code}", style="yellow")


def milliseconds(duration: timedelta | None) -> str:
    return f"{(duration or timedelta(0)).total_seconds() * 1000:.0f} ms"

"""For whom a command may ask: whose the token is that its calls carry, or whose they are without one."""

from clients.channel import Connection
from clients.credentials import TokenUnreadable
from clients.errors import SeleneError
from clients.voiceid import DEVELOPMENT_TENANT


def naming_tenant(error: SeleneError, connection: Connection, asked: str) -> SeleneError:
    """The error; one about the tenant names the one that the calls speak for, beside ``asked``, the one that was given.

    The token itself is never told.
    """
    if error.reason != "TENANT_MISMATCH":
        return error
    try:
        claims = connection.claims()
    except TokenUnreadable:
        return error
    instead = f", not for `{asked}`" if asked else ""
    if connection.carries_token:
        return error.with_next_step(
            f"the token speaks for tenant `{claims.tenant_id}`{instead}: ask for that one, or use another token"
        )
    return error.with_next_step(
        f"calls without a token speak for tenant `{DEVELOPMENT_TENANT}`{instead}: "
        "leave --tenant and SELENE_TENANT out, or give a token"
    )

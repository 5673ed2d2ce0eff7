"""`selene token show`: what the configured token says. Minting is the server's: `selene token issue`."""

from datetime import UTC, datetime

from rich.table import Table
from rich.text import Text

from clients.cli.output import Output
from clients.cli.registry import Commands
from clients.cli.session import EXIT_CODES, OK, USAGE, local
from clients.cli.settings import Settings
from clients.credentials import TokenSource, read_claims


def register(commands: Commands) -> None:
    """Adds `token show`; the server's package adds `token issue` beside it."""
    group = commands.group("token", help_text="The token that calls carry.")
    group.command("show", epilog=EXIT_CODES)(local(token_show))


def token_show(settings: Settings, output: Output) -> int:
    """Show tenant, subject, device, roles and dates of the configured token. The signature is not checked here."""
    token = TokenSource(settings.token, settings.token_file).read()
    if not token:
        output.misuse(
            "no token is configured (--token-file, SELENE_TOKEN or client.toml); on loopback none may be needed"
        )
        return USAGE
    claims = read_claims(token)
    document = {
        "tenant_id": claims.tenant_id,
        "subject": claims.subject,
        "device_id": claims.device_id,
        "roles": list(claims.roles),
        "issued_at": _iso(claims.issued_at),
        "expires_at": _iso(claims.expires_at),
        "expired": bool(claims.expires_at and claims.expires_at <= datetime.now(UTC)),
    }
    table = Table(box=None, pad_edge=False, show_header=False)
    for name, value in document.items():
        table.add_row(name, Text(", ".join(value) if isinstance(value, list) else str(value)))
    output.show(document, table)
    return OK


def _iso(instant: datetime | None) -> str:
    return instant.isoformat() if instant else ""

"""`selene profiles`, `gallery`, `kpi`, `policy`: what is enrolled, how it does, and what decides."""

from datetime import datetime, timedelta
from typing import Annotated, Literal

import typer
from rich.table import Table
from rich.text import Text
from selene_messages.selene.voiceid import v1

from clients.cli.live import percent
from clients.cli.registry import Commands
from clients.cli.session import EXIT_CODES, USAGE, Session, remote
from clients.wire import to_document

Stage = Literal["M0", "M1", "M2", "M3"]

_User = Annotated[str, typer.Argument(help="The person's user id", show_default=False)]
_Yes = Annotated[bool, typer.Option("--yes", help="Do not ask: withdrawing cannot be undone")]
_Stream = Annotated[str, typer.Argument(help="The stream's id, as `identify --json` tells it", show_default=False)]
_Speaker = Annotated[str, typer.Option("--speaker", help="The user who spoke")]
_Nobody = Annotated[bool, typer.Option("--nobody", help="Nobody who is enrolled spoke")]
_OnDevice = Annotated[str, typer.Option("--on-device", help="Only the people enrolled on this device")]
_Language = Annotated[str, typer.Option("--language", help="Only cohorts of this language")]
_Since = Annotated[datetime | None, typer.Option("--since", help="From when, local time")]
_Until = Annotated[datetime | None, typer.Option("--until", help="Until when, local time")]
_Locale = Annotated[str, typer.Option("--locale", help="Locale to resolve for")]
_ForChannel = Annotated[str, typer.Option("--channel", help="Channel to resolve for")]
_ForUser = Annotated[str, typer.Option("--user", help="User to resolve for")]
_Stage = Annotated[Stage | None, typer.Argument(help="Stage to move to; without it the present one is shown")]


def register(commands: Commands) -> None:
    """Adds the commands that read and manage."""
    profiles = commands.group("profiles", help_text="Who is enrolled, and withdrawing them.")
    profiles.command("list", epilog=EXIT_CODES)(remote(profiles_list))
    profiles.command("show", epilog=EXIT_CODES)(remote(profiles_show))
    profiles.command("revoke", epilog=EXIT_CODES)(remote(profiles_revoke))
    commands.app.command("gallery", epilog=EXIT_CODES)(remote(gallery))
    commands.app.command("kpi", epilog=EXIT_CODES)(remote(kpi))
    commands.app.command("confirm", epilog=EXIT_CODES)(remote(confirm))
    policy = commands.group("policy", help_text="What decides: the threshold pack and the migration stage.")
    policy.command("show", epilog=EXIT_CODES)(remote(policy_show))
    policy.command("stage", epilog=EXIT_CODES)(remote(policy_stage))


async def profiles_list(session: Session) -> None:
    """List the tenant's profiles, by user id.

    \b
      selene profiles list --json | jq -r '.profiles[].user_id'
    """
    found = [profile async for profile in session.voice().list_profiles()]
    session.output.show({"profiles": [to_document(profile) for profile in found]}, _profiles(found))


async def profiles_show(session: Session, user: _User) -> None:
    """Show one person's profile; never its embedding."""
    profile = await session.voice().get_profile(user)
    session.output.show(to_document(profile), _profiles([profile]))


async def profiles_revoke(session: Session, user: _User, yes: _Yes = False) -> int | None:
    """Withdraw a person's consent: the key to their voice is destroyed, for good.

    \b
      selene profiles revoke mira --yes
    """
    agreed = yes or (not session.output.as_json and typer.confirm(f"Destroy the voice profile of {user}?", err=True))
    if not agreed:
        session.output.misuse("nothing was withdrawn; --yes withdraws without asking")
        return USAGE
    profile = await session.voice().revoke_profile(user)
    session.output.show(to_document(profile), _profiles([profile]))
    return None


def _profiles(found: list[v1.Profile]) -> Table:
    table = Table("user", "version", "state", "clips", "voiced", "locked", "consent", box=None, pad_edge=False)
    for profile in found:
        table.add_row(
            Text(profile.user_id),
            str(profile.profile_version),
            profile.state.name or "?",
            str(profile.clip_count),
            _seconds(profile.voiced),
            profile.created_at.isoformat(timespec="seconds") if profile.created_at else "-",
            Text(profile.consent_ref),
        )
    return table


async def gallery(session: Session, on_device: _OnDevice = "") -> None:
    """What a stream would be compared with: how many people, by which models."""
    reply = await session.voice().gallery(device_id=on_device)
    table = _pairs(
        ("profiles", reply.profile_count),
        ("made with other models", reply.stale_profile_count),
        ("version", reply.gallery_version),
        ("models", ", ".join(reply.models)),
        ("members", ", ".join(reply.member_user_ids) or "-"),
    )
    session.output.show(to_document(reply), table)


async def kpi(session: Session, language: _Language = "", since: _Since = None, until: _Until = None) -> None:
    """True-accept, false-reject and false-accept rates and latency, per cohort.

    Rates cover decisions whose truth is known, from `selene confirm` or an answered prompt.
    """
    cohort = v1.CohortLabels(language=language) if language else None
    rows = await session.voice().kpis(cohort=cohort, since=_zoned(since), until=_zoned(until))
    table = Table("cohort", "decisions", "named", "TAR", "FRR", "FAR", "p50", "p95", "p99", box=None, pad_edge=False)
    for found in rows:
        rates = [percent(rate) if rate >= 0 else "-" for rate in (found.tar_bp, found.frr_bp, found.far_bp)]
        latencies = [_ms(value) for value in (found.latency_p50, found.latency_p95, found.latency_p99)]
        table.add_row(_cohort(found.cohort), str(found.decisions), str(found.named), *rates, *latencies)
    session.output.show({"cohorts": [to_document(found) for found in rows]}, table)


async def confirm(session: Session, stream_id: _Stream, speaker: _Speaker = "", nobody: _Nobody = False) -> int | None:
    """Say who really spoke in a decided stream: it feeds the KPIs and can end the prompt cooldown.

    \b
      selene confirm 0198c1a2 --speaker mira
      selene confirm 0198c1a2 --nobody
    """
    if bool(speaker) == nobody:
        session.output.misuse("say who it was with --speaker, or that it was nobody enrolled with --nobody")
        return USAGE
    reply = await session.voice().confirm(stream_id, speaker)
    text = "the decision was right" if reply.decision_was_right else "the decision was wrong"
    session.output.show(to_document(reply), Text(text + (", cooldown ended" if reply.cooldown_cleared else "")))
    return None


async def policy_show(session: Session, locale: _Locale = "", channel: _ForChannel = "", user: _ForUser = "") -> None:
    """Show the threshold pack that applies, which layer supplied it, and the migration stage."""
    voice = session.voice()
    reply = await voice.threshold_pack(locale=locale, channel=channel, user_id=user)
    stage = await voice.migration_stage()
    pack = reply.pack or v1.ThresholdPack()
    table = _pairs(
        ("stage", stage.name),
        ("pack", pack.pack_ref),
        ("from", reply.layer),
        ("cohort", pack.cohort),
        ("CONFIRMED from", percent(pack.conf_high_bp)),
        ("PROBABLE from", percent(pack.conf_mid_bp)),
        ("smallest margin", percent(pack.min_margin_bp)),
        ("trials", f"{pack.genuine_trials} genuine, {pack.impostor_trials} impostor"),
        ("provisional", "yes: CONFIRMED is treated as PROBABLE" if pack.provisional else "no"),
        ("signed by", pack.signing_key_id),
    )
    session.output.show({"stage": stage.name, **to_document(reply)}, table)


async def policy_stage(session: Session, stage: _Stage = None) -> None:
    """Show the tenant's migration stage, or move it to a neighbouring one.

    M0 answers V1 only · M1 both, V2 in shadow · M2 both, V2 read · M3 V2 only.

    \b
      selene policy stage M2
    """
    voice = session.voice()
    if stage is None:
        present = await voice.migration_stage()
    else:
        present = await voice.set_migration_stage(v1.MigrationStage[stage])
    session.output.show({"stage": present.name}, Text(present.name or "?"))


def _pairs(*pairs: tuple[str, object]) -> Table:
    table = Table(box=None, pad_edge=False, show_header=False)
    for name, value in pairs:
        table.add_row(name, Text(str(value)))
    return table


def _cohort(labels: v1.CohortLabels | None) -> str:
    given = labels or v1.CohortLabels()
    return " · ".join(filter(None, (given.language, given.accent_band, given.device_class, given.noise_class))) or "-"


def _zoned(instant: datetime | None) -> datetime | None:
    return instant.astimezone() if instant else None


def _seconds(duration: timedelta | None) -> str:
    return f"{duration.total_seconds():.1f} s" if duration else "-"


def _ms(duration: timedelta | None) -> str:
    return f"{duration.total_seconds() * 1000:.0f} ms" if duration else "-"

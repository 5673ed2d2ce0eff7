"""`selene routes` and `selene limits` against the real owners: tables, JSON, profiles as files, an operator's hand."""

from __future__ import annotations

import asyncio
import io
import json
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import grpc
import pytest
from rich.console import Console
from selene_messages.selene.kms import v1 as kms
from selene_messages.selene.routing import v1

from clients.cli.routes import ProfileUnreadable, as_next, profile_document, read_profile
from clients.cli.standings import Standing, table, view
from clients.errors import SeleneError
from clients.routing import Routing
from clients.secrets import Secrets
from tests.support.owners import Owners, serving
from tests.support.talking import Run, command

LOCAL = "selene-local/llm"
AT, HOUR = datetime(2020, 5, 5, 12, tzinfo=UTC), timedelta(hours=1)


@pytest.fixture
def run(talking: Owners, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Run:
    return command(talking, tmp_path, monkeypatch)


def rows(stdout: str) -> dict[str, str]:
    """Lines of a table by the provider that they are about."""
    return {word: line for line in stdout.splitlines() for word in line.split() if "/" in word}


async def test_the_table_tells_who_is_next_and_why_others_are_not(run: Run) -> None:
    result = await run("routes", "--once")
    told = rows(result.stdout)
    for provider, lacking in (("openai/llm", "NO_SECRET"), ("llama/llm", "NO_ADAPTER")):
        assert "NOT_CONFIGURED" in told[provider] and lacking in told[provider]
        assert len([line for line in result.stdout.splitlines() if line.startswith(f"{lacking}: ")]) == 1
    assert "▶" in told[LOCAL] and "READY" in told[LOCAL] and "CLOSED" in told[LOCAL]
    assert [ref for ref, line in told.items() if "▶" in line] == ["selene-local/tts", LOCAL]
    assert "global_default" in told[LOCAL]


async def test_a_provider_whose_secret_was_revoked_is_not_shown_as_ready_again(
    quiet_log: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with serving(["kms", "llm"], tmp_path) as owners:
        run = command(owners, tmp_path, monkeypatch)
        secrets = Secrets(owners.connection("kms"))
        openai = "kms://providers/openai/llm"
        await secrets.put(openai, b"sk-none", environment=kms.Environment.DEV, granted_owners=["PH1.D"])
        shown = ""
        async with asyncio.timeout(10):
            while "READY" not in shown:
                shown = rows((await run("routes", "--once")).stdout)["openai/llm"]
        await secrets.revoke(openai, "drill")
        assert "NO_SECRET" in rows((await run("routes", "--once")).stdout)["openai/llm"]


async def test_an_owner_that_does_not_answer_is_a_row_and_the_others_are_shown(run: Run) -> None:
    result = await run("routes", "--once")
    assert result.exit_code == 4
    assert "UNAVAILABLE" in result.stdout
    assert LOCAL in result.stdout
    assert "stt: UNAVAILABLE" in result.stderr


async def test_the_table_as_json_is_one_document_of_all_owners(run: Run) -> None:
    document = json.loads((await run("routes", "--json")).stdout)
    owners = {each["owner"]: each for each in document["owners"]}
    assert list(owners) == ["stt", "tts", "llm"]
    assert owners["stt"]["error"]["code"] == "UNAVAILABLE"
    (following,) = [each for each in owners["llm"]["providers"] if each["next"]]
    assert following["provider_ref"] == LOCAL


async def test_a_shown_profile_is_valid_and_its_next_version_goes_live(run: Run, tmp_path: Path) -> None:
    file = tmp_path / "profile.json"
    file.write_text((await run("routes", "show", "--next")).stdout)
    assert (await run("routes", "validate", file)).exit_code == 0
    assert (await run("routes", "put", file)).exit_code == 0
    assert (await run("routes", "activate", 2, "--reason", "ROLLOUT")).exit_code == 0
    versions = json.loads((await run("routes", "versions", "--json")).stdout)["versions"]
    assert [(each["profile_version"], each["active"]) for each in versions] == [("1", False), ("2", True)]
    assert (await run("routes", "rollback", "--reason", "ERRORS_ROSE")).exit_code == 0
    following = json.loads((await run("routes", "show", "--next")).stdout)
    assert following["profile_version"] == "4"
    assert following["rollback_pointer_ref"] == "PROVIDER_ROUTING_PROFILE_V1@3"


async def test_what_is_wrong_with_a_profile_is_listed_and_exits_with_1(run: Run, tmp_path: Path) -> None:
    document = json.loads((await run("routes", "show", "--next")).stdout)
    document["llm"]["providers"].append(document["llm"]["providers"][0])
    document["tts"]["providers"][0]["priority"] = 0
    file = tmp_path / "profile.json"
    file.write_text(json.dumps(document))
    result = await run("routes", "validate", file)
    assert result.exit_code == 1
    assert "DUPLICATE_PROVIDER" in result.stdout
    assert "tts.providers[0].priority" in result.stdout
    assert "must be greater than or equal to 1" in " ".join(result.stdout.split())
    refused = await run("routes", "put", file)
    assert (refused.exit_code, "PROFILE_INVALID" in refused.stderr) == (1, True)


async def test_what_is_hardly_meant_is_listed_and_exits_with_0(run: Run, tmp_path: Path) -> None:
    document = json.loads((await run("routes", "show", "--next")).stdout)
    document["llm"]["providers"][0]["provider_ref"] = "opnai/llm"
    file = tmp_path / "profile.json"
    file.write_text(json.dumps(document))
    result = await run("routes", "validate", file)
    assert result.exit_code == 0
    assert "the profile may serve" in result.stdout
    assert "UNKNOWN_ADAPTER" in result.stdout and "llm.providers[0]" in result.stdout


@pytest.mark.parametrize("text", ["{", '{"profile_versoin": 2}', '{"profile_version": "two"}', "[]"])
async def test_a_file_that_is_no_profile_is_wrong_usage(run: Run, tmp_path: Path, text: str) -> None:
    file = tmp_path / "profile.json"
    file.write_text(text)
    result = await run("routes", "put", file)
    assert result.exit_code == 2
    assert "profile.json" in result.stderr


async def test_an_unknown_field_is_told_with_its_place_and_what_was_meant(run: Run, tmp_path: Path) -> None:
    file = tmp_path / "profile.json"
    file.write_text('{"llm": {"providers": [{"priorty": 1}]}}')
    result = await run("routes", "validate", file)
    assert result.exit_code == 2
    assert result.stderr == f"{file}: unknown field `priorty` in llm.providers[0]; did you mean `priority`?\n"


async def test_a_profile_survives_its_file(talking: Owners, tmp_path: Path) -> None:
    profile = (await Routing(talking.connection("llm")).get()).profile
    assert profile is not None
    file = tmp_path / "profile.json"
    file.write_text(json.dumps(profile_document(profile)))
    assert bytes(read_profile(file)) == bytes(profile)


def test_the_next_version_points_back_to_the_one_that_it_was_made_of() -> None:
    made = as_next(v1.ProviderRoutingProfileV1(profile_version=1), 7, after=3)
    assert (made.profile_version, made.artifact_id) == (7, "PROVIDER_ROUTING_PROFILE_V1@7")
    assert made.rollback_pointer_ref == "PROVIDER_ROUTING_PROFILE_V1@3"


def test_a_profile_that_is_not_text_is_unreadable(tmp_path: Path) -> None:
    (tmp_path / "p").write_bytes(b"\xff\xfe")
    with pytest.raises(ProfileUnreadable):
        read_profile(tmp_path / "p")


async def test_a_circuit_is_forced_shown_in_history_and_released(run: Run) -> None:
    forced = await run("routes", "force", "open", LOCAL, "--reason", "VENDOR_INCIDENT")
    assert (forced.exit_code, "FORCED_OPEN" in forced.stdout) == (0, True), forced.stderr
    assert (await run("ask", "hello")).exit_code == 1
    told = rows((await run("routes", "--once")).stdout)[LOCAL]
    assert "CIRCUIT_OPEN" in told and "VENDOR_INCIDENT" in told and "▶" not in told
    assert (await run("routes", "force", "release", LOCAL, "--reason", "INCIDENT_OVER")).exit_code == 0


@pytest.mark.parametrize(
    ("given", "example"), [("too slow", "TOO_SLOW"), ("Drill", "DRILL"), ("", "VENDOR_INCIDENT"), ("1A", "VENDOR_")]
)
async def test_a_reason_is_checked_before_anything_is_asked(run: Run, given: str, example: str) -> None:
    result = await run("routes", "force", "open", LOCAL, "--reason", given)
    told = " ".join(result.stderr.replace("│", " ").split())
    assert (result.exit_code, "UPPER_SNAKE_CASE" in told, example in told) == (2, True, True), told


async def test_history_of_circuits_lists_the_latest_first(
    hearing: Owners, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = command(hearing, tmp_path, monkeypatch)
    nothing = await run("routes", "history")
    assert (nothing.exit_code, nothing.stdout.strip()) == (0, "no circuit has ever changed")
    for force, provider in (("open", LOCAL), ("closed", "selene-local/tts")):
        assert (await run("routes", "force", force, provider, "--reason", "DRILL")).exit_code == 0
    found = json.loads((await run("routes", "history", "--json")).stdout)["transitions"]
    assert [(each["owner"], each["provider_ref"]) for each in found] == [("tts", "selene-local/tts"), ("llm", LOCAL)]
    only = json.loads((await run("routes", "history", LOCAL, "--json")).stdout)["transitions"]
    assert [each["provider_ref"] for each in only] == [LOCAL]
    unknown = await run("routes", "force", "open", "nobody/llm", "--reason", "DRILL")
    assert (unknown.exit_code, "no owner has a provider nobody/llm" in unknown.stderr) == (2, True)


async def test_explain_names_the_layer_of_each_field(run: Run) -> None:
    result = await run("routes", "explain", f"providers[{LOCAL}].priority")
    assert result.exit_code == 0
    assert result.stdout.splitlines()[1].split() == [f"providers[{LOCAL}].priority", "global_default"]


async def test_help_of_routes_teaches_both_the_table_and_the_sub_commands(run: Run) -> None:
    told = (await run("routes", "--help")).stdout
    for words in ("selene routes --once", "explain", "force", "rollback"):
        assert words in told


async def test_limits_are_set_and_listed(run: Run) -> None:
    assert (await run("limits", "budget", "2.50", "--domain", "llm", "--period", "day")).exit_code == 0
    (budget,) = json.loads((await run("limits", "budget", "--json")).stdout)["budgets"]
    assert budget["budget"]["limit_micros"] == "2500000"
    assert "2.50 EUR" in (await run("limits", "budget")).stdout
    assert (await run("limits", "quota", "20", "--per-second", "2", "-d", "stt")).exit_code == 0
    assert (await run("limits", "quota")).stdout.splitlines()[1].split() == ["stt", "20", "2", "20.0"]
    assert (await run("limits", "quota", "20")).exit_code == 2


async def test_limits_that_are_removed_are_no_longer_listed(run: Run) -> None:
    assert (await run("limits", "budget", "2", "-d", "tts", "--period", "day")).exit_code == 0
    removed = await run("limits", "budget", "--remove", "-d", "tts", "--period", "day")
    assert (removed.exit_code, removed.stdout.strip()) == (0, "the budget is removed: tts, day")
    assert json.loads((await run("limits", "budget", "--json")).stdout)["budgets"] == []
    assert (await run("limits", "quota", "3", "-d", "tts")).exit_code == 0
    assert (await run("limits", "quota", "--remove", "-d", "tts")).exit_code == 0
    assert json.loads((await run("limits", "quota", "--json")).stdout)["quotas"] == []
    gone = await run("limits", "quota", "--remove", "-d", "tts")
    assert (gone.exit_code, "RESOURCE_NOT_FOUND" in gone.stderr) == (1, True)


@pytest.mark.parametrize(
    ("args", "told"),
    [
        (("quota", "-5", "-d", "tts"), "-5 is too small: at least 0"),
        (("budget", "-5"), "-5 is too small: at least 0"),
        (("quota", "5", "--remove", "-d", "tts"), "--remove takes no number"),
        (("budget", "5", "--remove"), "--remove takes no amount"),
        (("quota", "--remove"), "a quota is of one domain"),
        (("deny", "x", "--reason", "too slow"), "such as TOO_SLOW"),
    ],
)
async def test_limits_that_make_no_sense_are_wrong_usage(run: Run, args: tuple[str, ...], told: str) -> None:
    result = await run("limits", *args)
    assert (result.exit_code, told in " ".join(result.stderr.replace("│", " ").split())) == (2, True), result.stderr


async def test_rules_allow_deny_and_are_removed(run: Run) -> None:
    denied = await run("limits", "deny", "no-cars", "--reason", "PAUSED", "--channel", "car", "-d", "llm")
    assert (denied.exit_code, denied.stdout.strip()) == (0, "no-cars is put: DENY")
    assert (await run("limits", "allow", "pilot", "--reason", "PILOT", "--user", "mira")).exit_code == 0
    listed = (await run("limits", "rules")).stdout.splitlines()
    assert [line.split()[0] for line in listed[1:]] == ["shipped-allow", "no-cars", "pilot"]
    refused = await run("ask", "hello", "--channel", "car")
    assert (refused.exit_code, "PAUSED" in refused.stderr) == (1, True)
    assert (await run("ask", "hello")).exit_code == 0
    assert (await run("limits", "remove", "no-cars")).exit_code == 0
    gone = await run("limits", "remove", "no-cars", "--json")
    assert json.loads(gone.stdout)["error"]["reason"] == "RESOURCE_NOT_FOUND"


def standing(**fields: Any) -> v1.ProviderStanding:
    usual: dict[str, Any] = {
        "provider_ref": "openai/stt",
        "priority": 1,
        "availability": v1.Availability.CIRCUIT_OPEN,
        "reason_code": "CIRCUIT_OPEN",
        "circuit": v1.Circuit(state=v1.CircuitState.OPEN, reason_code="ERROR_RATE_60S"),
        "readings": [
            v1.MeasureReading(v1.Measure.ERROR_RATE_60S, 1_250.0, 40),
            v1.MeasureReading(v1.Measure.P95_LATENCY_5M, 1_234.0, 40),
            v1.MeasureReading(v1.Measure.TRANSCRIPT_ACCEPT_RATE_200, 8_100.0, 30),
        ],
    }
    return v1.ProviderStanding(**{**usual, **fields})


def drawn(width: int, *providers: v1.ProviderStanding) -> str:
    console = Console(file=io.StringIO(), width=width)
    reply = v1.ListProvidersResponse(domain=v1.Domain.STT, providers=list(providers))
    console.print(table([Standing("stt", reply)], console))
    return console.file.getvalue()  # type: ignore[attr-defined]  # it is a StringIO


def test_the_table_shows_rates_in_percent_and_what_matters_in_the_domain() -> None:
    told = drawn(300, standing())
    for words in ("12.5 %", "1234 ms", "accepted 81.0 %", "ERROR_RATE_60S", "40"):
        assert words in told


def test_a_measure_without_samples_claims_nothing() -> None:
    told = drawn(300, standing(readings=[v1.MeasureReading(v1.Measure.TRANSCRIPT_ACCEPT_RATE_200, 10_000.0, 0)]))
    assert "%" not in told


@pytest.mark.parametrize(
    ("succeeded", "failed", "told", "not_told"),
    [
        (None, None, " - ", "OK"),
        (AT, None, "OK 2020-05-0", "TIMEOUT"),
        (AT, AT + HOUR, "TIMEOUT 2020-05-0", "OK"),
        (AT + HOUR, AT, "OK 2020-05-0", "TIMEOUT"),
        (AT, AT, "TIMEOUT 2020-05-0", "OK"),
    ],
)
def test_the_table_shows_what_came_of_a_provider_last(
    succeeded: datetime | None, failed: datetime | None, told: str, not_told: str
) -> None:
    failure = "TIMEOUT" if failed else ""
    shown = drawn(300, standing(last_succeeded_at=succeeded, last_failed_at=failed, last_failure=failure, readings=[]))
    assert told in shown and not_told not in shown


@pytest.mark.parametrize("width", [80, 120, 300])
def test_no_name_is_cut_off_where_there_is_little_room(width: int) -> None:
    told = drawn(width, standing())
    for words in ("openai/stt", "CIRCUIT_OPEN", "OPEN"):
        assert words in told
    assert all(len(line) <= width for line in told.splitlines())


@pytest.mark.parametrize(
    ("reason", "told"),
    [("NO_SECRET", "secrets put"), ("NO_SECRETS_OWNER", "kms"), ("LEASE_DENIED", "-g"), ("NO_ADAPTER", "endpoint")],
)
def test_what_is_not_configured_is_told_why_and_what_to_do_once(reason: str, told: str) -> None:
    console = Console(file=io.StringIO(), width=80)
    lacking = standing(availability=v1.Availability.NOT_CONFIGURED, reason_code=reason, circuit=v1.Circuit())
    reply = v1.ListProvidersResponse(domain=v1.Domain.STT, providers=[lacking, lacking])
    console.print(view([Standing("stt", reply)], console))
    lines = console.file.getvalue().splitlines()  # type: ignore[attr-defined]  # it is a StringIO
    assert all(reason in line for line in lines[1:3])
    (advice,) = lines[3:]
    assert advice.startswith(f"{reason}: ") and told in advice


def test_an_owner_s_refusal_is_told_by_its_reason() -> None:
    console = Console(file=io.StringIO(), width=200)
    error = SeleneError(grpc.StatusCode.PERMISSION_DENIED, "no", reason="ROLE_REQUIRED")
    console.print(table([Standing("llm", error)], console))
    assert "ROLE_REQUIRED" in console.file.getvalue()  # type: ignore[attr-defined]  # it is a StringIO

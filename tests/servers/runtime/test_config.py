import json
import os
from pathlib import Path
from typing import Any

import pytest
from pydantic import BaseModel, ConfigDict

from servers.runtime.config import ConfigError, Settings, load_settings


@pytest.fixture(autouse=True)
def clean_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [name for name in os.environ if name.startswith("SELENE_")]:
        monkeypatch.delenv(name)


def toml(folder: Path, text: str) -> Path:
    path = folder / "selene.toml"
    path.write_text(text)
    return path


def test_flags_win_over_environment_over_file_over_defaults(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = toml(tmp_path, "[limits]\nunary_s = 1\nstream_s = 1\nidle_s = 1\n")
    monkeypatch.setenv("SELENE_LIMITS__UNARY_S", "2")
    monkeypatch.setenv("SELENE_LIMITS__STREAM_S", "2")
    limits = load_settings(path, {"limits.unary_s": 3, "limits.grace_s": None}).limits
    assert (limits.unary_s, limits.stream_s, limits.idle_s, limits.grace_s) == (3, 2, 1, Settings().limits.grace_s)


def test_the_file_may_be_named_by_the_environment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SELENE_CONFIG", str(toml(tmp_path, "workers = 3\n")))
    assert load_settings().workers == 3


def test_settings_alone_read_nothing_from_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SELENE_WORKERS", "9")
    assert Settings().workers == 1


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("[limts]\nunary_s = 1\n", "unknown setting limts; the nearest known one is limits"),
        ("[limits]\nunary = 1\n", "unknown setting limits.unary; the nearest known one is unary_s"),
        ("[auth]\nkey_file = 'x'\n", "unknown setting auth.key_file; the nearest known one is keys_file"),
        ("[limits]\nunary_s = 'soon'\n", "limits.unary_s: "),
        ("[limits]\nunary_s = 0\n", "limits.unary_s: "),
        ("[tls]\ncertificate = 'c.pem'\n", "`certificate` and `private_key` come together"),
        ("[tls]\nclient_ca = 'c.pem'\n", "`client_ca` needs"),
        ("workers = \n", "selene.toml"),
    ],
)
def test_a_file_that_cannot_be_used_is_explained(tmp_path: Path, text: str, expected: str) -> None:
    with pytest.raises(ConfigError) as caught:
        load_settings(toml(tmp_path, text))
    assert expected in str(caught.value)
    assert "selene.toml: " in str(caught.value) and "Value error" not in str(caught.value)


class Priced(BaseModel):
    price: int = 0


def test_an_error_names_the_layer_that_it_is_to_be_corrected_in(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = toml(tmp_path, "[limits]\nunary_s = 'soon'\nidle_s = 'late'\n[owners.mine]\nprice = 'much'\n")
    monkeypatch.setenv("SELENE_LIMITS__UNARY_S", "sooner")
    with pytest.raises(ConfigError) as caught:
        load_settings(path, {"limits.stream_s": "flagged"})
    lines = {line.partition(": Input")[0] for line in str(caught.value).splitlines()}
    assert lines == {"the environment: limits.unary_s", "limits.stream_s", f"{path}: limits.idle_s"}
    monkeypatch.setenv("SELENE_LIMITS__UNARY_S", "1")
    with pytest.raises(ConfigError, match=f"{path}: owners.mine.price"):
        load_settings(path, {"limits.idle_s": 1}).owner_settings("mine", Priced)


def test_a_missing_file_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"absent\.toml"):
        load_settings(tmp_path / "absent.toml")


@pytest.mark.parametrize(
    ("variable", "nearest"),
    [
        ("SELENE_LIMITS__UNARY", "unary_s"),
        ("SELENE_LIMIT__UNARY_S", "SELENE_LIMITS"),
        ("SELENE_WORKER", "SELENE_WORKERS"),
    ],
)
def test_a_misspelt_variable_is_refused_with_the_nearest_name(
    monkeypatch: pytest.MonkeyPatch, variable: str, nearest: str
) -> None:
    monkeypatch.setenv(variable, "1")
    with pytest.raises(ConfigError) as caught:
        load_settings()
    assert nearest in str(caught.value)


def test_variables_of_clients_are_left_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SELENE_TOKEN", "x")
    monkeypatch.setenv("SELENE_TARGET", "y")
    assert load_settings() == Settings()


def test_a_flag_that_does_not_exist_is_refused() -> None:
    with pytest.raises(ConfigError, match=r"unknown setting listen\.prt; the nearest known one is ports"):
        load_settings(flags={"listen.prt": 1})


def test_ports_by_owner_come_from_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SELENE_LISTEN__PORTS__VOICEID", "7001")
    assert load_settings().listen.ports == {"voiceid": 7001}


SECRETS: dict[str, Any] = {
    "store.url": "postgresql+asyncpg://selene:hunter2-canary@db:5432/selene",
    "master_key.value": "bWFzdGVyLWtleS1jYW5hcnk=",
    "owners": {"delivery": {"provider_token": "token-canary", "nested": {"api_key": "key-canary"}, "region": "eu"}},
}


def test_the_effective_settings_show_everything_but_secrets() -> None:
    shown = load_settings(flags=SECRETS).effective()
    text = json.dumps(shown)
    assert "canary" not in text
    assert shown["store"]["url"] == "postgresql+asyncpg://(set)@db:5432/selene"
    assert shown["master_key"] == {"file": None, "value": "(set)", "retired_files": ()}
    assert shown["owners"]["delivery"] == {
        "provider_token": "(set)",
        "nested": {"api_key": "(set)"},
        "region": "eu",
    }
    assert shown["limits"]["unary_s"] == Settings().limits.unary_s


def test_an_error_about_a_secret_does_not_show_it() -> None:
    with pytest.raises(ConfigError) as caught:
        load_settings(flags={"master_key.value": ["bWFzdGVyLWtleS1jYW5hcnk="]})
    assert "bWFz" not in str(caught.value)


class Delivery(BaseModel):
    model_config = ConfigDict(extra="forbid")
    region: str = "eu"


def test_an_owner_validates_its_own_part() -> None:
    settings = load_settings(flags={"owners": {"delivery": {"region": "us"}}})
    assert settings.owner_settings("delivery", Delivery).region == "us"
    assert settings.owner_settings("absent", Delivery).region == "eu"


def test_an_unknown_name_in_an_owners_part_is_refused_with_the_nearest() -> None:
    settings = load_settings(flags={"owners": {"delivery": {"regoin": "us"}}})
    with pytest.raises(ConfigError, match=r"owners\.delivery\.regoin; the nearest known one is region"):
        settings.owner_settings("delivery", Delivery)


def test_a_section_given_as_one_variable_is_refused_with_how_to_name_its_settings(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("SELENE_MASTER_KEY", "x")
    with pytest.raises(ConfigError, match="SELENE_SECTION__NAME"):
        load_settings()

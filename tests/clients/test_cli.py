"""`selene` as its users meet it: exit codes, JSON that is only JSON, help, live view, Ctrl-C."""

import io
import json
import os
import shlex
import signal
import subprocess
import sys
from datetime import timedelta
from importlib.metadata import EntryPoint

import grpc
import numpy as np
import pytest
import soundfile
import typer
from rich.cells import cell_len
from rich.console import Console
from selene.voiceid.v2 import service_pb2, voiceid_pb2
from selene_messages.selene.voiceid import v1, v2
from typer.testing import CliRunner

from clients import cli
from clients.cli import registry, trail
from clients.cli.live import LiveView
from clients.cli.settings import Settings, SettingsUnusable, resolve
from clients.stream import Outcome


@pytest.fixture
def run(threaded_double, tmp_path, monkeypatch):
    """Runs a command against the double; the result has `exit_code`, `stdout` and `stderr`."""
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path))
    monkeypatch.setenv("SELENE_TARGET", threaded_double.target)
    monkeypatch.setenv("COLUMNS", "200")
    runner = CliRunner()
    return lambda *arguments: runner.invoke(cli.build(), [str(argument) for argument in arguments])


@pytest.fixture
def wav(tmp_path):
    path = tmp_path / "hello.wav"
    soundfile.write(path, np.arange(6_400, dtype=np.int16), 16_000)
    return path


def lines(text: str) -> list[dict]:
    return [json.loads(line) for line in text.splitlines()]


def test_identify_shows_the_decision_and_exits_with_0(run, wav):
    result = run("identify", wav, "--fast")
    assert result.exit_code == 0, result.stderr
    assert "CONFIRMED mira" in result.stdout
    assert "MATCH_HIGH" in result.stdout
    assert "21 ms server" in result.stdout


def test_an_unknown_speaker_is_no_failure_unless_more_is_required(run, wav, threaded_double):
    threaded_double.script.tier = voiceid_pb2.IDENTITY_TIER_UNKNOWN
    assert run("identify", wav, "--fast").exit_code == 0
    assert run("identify", wav, "--fast", "--require", "probable").exit_code == 3


@pytest.mark.parametrize(
    ("tier", "require", "code"),
    [("CONFIRMED", "confirmed", 0), ("PROBABLE", "confirmed", 3), ("PROBABLE", "probable", 0)],
)
def test_require_compares_tiers(run, wav, threaded_double, tier, require, code):
    threaded_double.script.tier = voiceid_pb2.IdentityTier.Value(f"IDENTITY_TIER_{tier}")
    assert run("verify", "mira", wav, "--fast", "--require", require).exit_code == code


def test_json_of_streams_is_json_lines_and_nothing_else(run, wav):
    result = run("identify", wav, wav, "--fast", "--json")
    documents = lines(result.stdout)
    assert {document["event"] for document in documents} == {"started", "interim", "decision"}
    decided = [document for document in documents if document["event"] == "decision"]
    assert [document["user_id"] for document in decided] == ["mira", "mira"]
    assert decided[0]["v2"]["reason_code"] == "VOICE_ID_REASON_MATCH_HIGH"
    assert decided[0]["latency_ms"] > 0


@pytest.mark.parametrize("command", [["identify"], ["verify", "mira o'hara"]])
@pytest.mark.parametrize(
    ("cause", "words"),
    [
        (service_pb2.RE_ENROLLMENT_CAUSE_QUALITY_DECAY, ": more of what is heard of them is too poor"),
        (service_pb2.RE_ENROLLMENT_CAUSE_MARGIN_COMPRESSION, ": their voice is told from others less clearly"),
        (99, " (selene enroll"),
    ],
)
def test_who_should_enrol_again_is_told_with_the_command_that_does_it(run, wav, threaded_double, command, cause, words):
    threaded_double.script.name_of = lambda heard: "mira o'hara"
    assert "again" not in run(*command, wav, "--fast").stderr
    threaded_double.script.drifted = cause
    result = run(*command, wav, "--fast")
    assert result.exit_code == 0
    [line] = [line for line in result.stderr.splitlines() if "again" in line]
    assert line.startswith(f"mira o'hara should enrol again{words}")
    told = shlex.split(line.partition("(")[2].removesuffix(")"))
    assert told == ["selene", "enroll", "mira o'hara", "FILES", "--consent", "REF"]


def test_who_should_enrol_again_stands_in_the_json_too(run, wav, threaded_double):
    [decided] = [line for line in lines(run("identify", wav, "--fast", "--json").stdout) if line["event"] == "decision"]
    assert decided["re_enrollment"] is None
    threaded_double.script.drifted = service_pb2.RE_ENROLLMENT_CAUSE_QUALITY_DECAY
    [decided] = [line for line in lines(run("identify", wav, "--fast", "--json").stdout) if line["event"] == "decision"]
    assert decided["re_enrollment"]["user_id"] == "mira"
    assert decided["re_enrollment"]["cause"] == "RE_ENROLLMENT_CAUSE_QUALITY_DECAY"
    assert decided["re_enrollment"]["asked_at"] == "2026-01-01T00:00:00Z"


@pytest.mark.parametrize(
    "command",
    [
        ["profiles", "list"],
        ["profiles", "show", "mira"],
        ["profiles", "revoke", "mira", "--yes"],
        ["gallery"],
        ["kpi"],
        ["confirm", "stream-1", "--nobody"],
        ["policy", "show"],
        ["policy", "stage"],
        ["policy", "stage", "M2"],
        ["audit", "verify"],
        ["audit", "checkpoint"],
    ],
)
def test_every_other_command_prints_one_document_with_json_and_words_without(run, command):
    as_json = run(*command, "--json")
    assert as_json.exit_code == 0, as_json.stderr
    assert isinstance(json.loads(as_json.stdout), dict)
    in_words = run(*command)
    assert in_words.exit_code == 0
    assert in_words.stdout.strip()


def test_enroll_tells_how_each_clip_was_graded(run, wav):
    result = run("enroll", "mira", wav, wav, wav, "--consent", "form-1", "--json")
    document = json.loads(result.stdout)
    assert document["profile"]["user_id"] == "mira"
    assert [grade["accepted"] for grade in document["clips"]] == [True, True, True]


def test_enrolling_again_tells_what_is_replaced(run, wav, threaded_double):
    first = run("enroll", "mira", wav, wav, wav, "--consent", "form-1")
    assert "mira is enrolled: profile version 1" in first.stderr and "in the place" not in first.stderr
    threaded_double.script.profile_version = 2
    again = run("enroll", "mira", wav, wav, wav, "--consent", "form-1")
    assert "mira is enrolled: profile version 2, in the place of version 1" in again.stderr


def test_an_enrolment_that_lacks_speech_exits_with_1_and_says_what_is_missing(run, wav):
    result = run("enroll", "mira", wav, "--consent", "form-1")
    assert result.exit_code == 1
    assert "2 more clips" in result.stderr
    assert "0.0 s" not in result.stderr


def test_an_enrolment_that_lacks_speech_is_gone_on_with_by_only_new_clips(run, wav, threaded_double):
    left = run("enroll", "mira", wav, "--consent", "form-1")
    assert "its 1 clip and the consent are kept" in left.stderr
    [going_on] = [line for line in left.stderr.splitlines() if "--enrollment" in line]
    arguments = going_on.partition("selene ")[2].replace("FILES", f"{wav} {wav}").split()
    done = run(*arguments, "--json")
    assert done.exit_code == 0, done.stderr
    assert len(threaded_double.enrollments) == 1
    assert json.loads(done.stdout)["enrollment"]["accepted_clips"] == 3


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        ((), "--consent REF"),
        (("--consent", "form-1", "--enrollment", "e-1"), "leave --consent away"),
    ],
)
def test_an_enrolment_is_new_with_a_consent_or_one_that_is_gone_on_with(run, wav, arguments, told):
    result = run("enroll", "mira", wav, *arguments)
    assert result.exit_code == 2
    assert told in result.stderr


def test_an_enrolment_of_somebody_else_is_not_gone_on_with(run, wav):
    run("enroll", "mira", wav, "--consent", "form-1")
    result = run("enroll", "noa", wav, "--enrollment", "e-1")
    assert result.exit_code == 2
    assert "enrolment e-1 is of mira, not of noa" in result.stderr


def test_a_refusal_exits_with_1_and_says_what_to_do(run, wav, threaded_double, refusal):
    threaded_double.script.on_config = [refusal(grpc.StatusCode.PERMISSION_DENIED, "TENANT_MISMATCH")]
    result = run("identify", wav, "--fast", "--json")
    assert result.exit_code == 1
    error = lines(result.stdout)[-1]["error"]
    assert error["reason"] == "TENANT_MISMATCH"
    assert "calls without a token speak for tenant `dev`" in error["next_step"]


def test_a_server_that_is_not_there_exits_with_4(run):
    result = run("gallery", "--target", "127.0.0.1:1", "--json")
    assert result.exit_code == 4
    assert json.loads(result.stdout)["error"]["code"] == "UNAVAILABLE"
    assert "selene up" in result.stderr


@pytest.mark.parametrize(
    "arguments",
    [
        ["identify"],
        ["identify", "absent.wav"],
        ["gallery", "--target", "selene.example:1", "--token", "secret"],
        ["gallery", "--token", "a", "--token-file", "b"],
        ["gallery", "--ca", "/absent/ca.pem"],
        ["gallery", "--cert", "/absent/cert.pem"],
        ["profiles", "revoke", "mira", "--json"],
        ["confirm", "stream-1"],
        ["token", "show"],
    ],
)
def test_wrong_usage_exits_with_2_and_keeps_stdout_clean(run, arguments):
    result = run(*arguments)
    assert result.exit_code == 2
    assert "secret" not in result.stdout + result.stderr
    if "--json" in arguments:
        assert json.loads(result.stdout)["error"]["reason"] == "USAGE"
    else:
        assert result.stdout == ""


def test_ctrl_c_cancels_the_stream_and_exits_with_130(threaded_double, wav, tmp_path):
    threaded_double.script.deaf = True
    environment = os.environ | {"SELENE_TARGET": threaded_double.target, "XDG_CONFIG_HOME": str(tmp_path)}
    code = "from clients.cli import main; main()"
    process = subprocess.Popen(
        [sys.executable, "-c", code, "identify", str(wav), "--fast", "--json"],
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    started = json.loads(process.stdout.readline())
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=20)
    assert started["event"] == "started"
    assert process.returncode == 130
    assert out == ""
    assert "cancelled" in err and "Traceback" not in err


def test_ctrl_c_while_the_command_is_still_imported_ends_quietly_with_130():
    code = (
        "import importlib.abc, sys\n"
        "from clients.cli import main\n"
        "assert 'grpc' not in sys.modules\n"
        "class Interrupting(importlib.abc.MetaPathFinder):\n"
        "    def find_spec(self, name, path, target=None):\n"
        "        if name == 'grpc': raise KeyboardInterrupt\n"
        "sys.meta_path.insert(0, Interrupting())\n"
        "main()\n"
    )
    ended = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=False)
    assert (ended.returncode, ended.stdout, ended.stderr) == (130, "", "")


@pytest.mark.parametrize(("own", "effective"), [({}, "0 NONE"), ({"GRPC_VERBOSITY": "DEBUG"}, "0 DEBUG")])
def test_grpc_is_quiet_unless_the_environment_says_otherwise(own, effective):
    code = (
        "import atexit, os\n"
        "from clients.cli import main\n"
        "names = ('GRPC_ENABLE_FORK_SUPPORT', 'GRPC_VERBOSITY')\n"
        "atexit.register(lambda: print(*(os.environ[name] for name in names)))\n"
        "main()\n"
    )
    inherited = {name: value for name, value in os.environ.items() if not name.startswith("GRPC_")}
    command = [sys.executable, "-c", code, "--help"]
    ended = subprocess.run(command, env=inherited | own, capture_output=True, text=True, timeout=60, check=True)
    assert ended.stdout.splitlines()[-1] == effective


def test_help_teaches_with_examples_and_says_how_to_get_the_server(run, monkeypatch):
    monkeypatch.setattr(registry, "entry_points", lambda group: [])
    text = run("--help").stdout
    assert "selene enroll mira" in text
    assert "selene-platform[server]" in text
    assert "selene identify hello.wav" in run("identify", "--help").stdout


@pytest.mark.parametrize("arguments", [("audit", "checkpoint", "--ledger", "nope"), ("policy", "stage", "M9")])
def test_a_value_that_is_no_choice_is_told_in_words_of_this_command(run, arguments):
    result = run(*arguments)
    assert result.exit_code == 2
    assert f"'{arguments[-1]}' is not one of" in result.stderr
    assert "Value error" not in result.stderr


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (("audit", "prove", "abc"), "'abc' is no whole number"),
        (("audit", "prove", "1.5"), "'1.5' is no whole number"),
        (("audit", "prove", "0"), "0 is too small: at least 1"),
        (("audit", "tail", "-n", "all"), "'all' is no whole number"),
        (("audit", "list", "--since", "monday"), "'monday' is no time"),
        (("audit", "list", "--timeout", "soon"), "'soon' is no number"),
    ],
)
def test_a_value_of_the_wrong_form_is_named_and_what_is_wanted(run, arguments, told):
    result = run(*arguments)
    assert result.exit_code == 2
    assert told in result.stderr
    assert "Input should be" not in result.stderr


def test_help_is_folded_at_the_terminal_and_examples_stay_as_they_are(run):
    told = [line.strip() for line in run("audit", "prove", "--help").stdout.splitlines()]
    assert any("anywhere, with no server and no store: the event's hash" in line for line in told)
    assert "selene audit prove --since monday.json > grown.json" in told


CLIENTS_PART = """
import sys
from clients import cli
app = cli.build(sys.argv[1:])
print("selene_messages" in sys.modules, sorted(each.name for each in app.registered_commands)[:3])
"""


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (("up", "--json"), "False ['calibrate', 'config', 'migrate']"),
        (("serve", "voiceid"), "False ['calibrate', 'config', 'migrate']"),
        (("identify", "hello.wav"), "True ['ask', 'calibrate', 'config']"),
        (("packs", "list"), "True ['ask', 'calibrate', 'config']"),
        (("--help",), "True ['ask', 'calibrate', 'config']"),
        ((), "True ['ask', 'calibrate', 'config']"),
    ],
)
def test_a_command_of_another_package_does_not_import_the_clients_part(words, told):
    command = [sys.executable, "-c", CLIENTS_PART, *words]
    ended = subprocess.run(command, capture_output=True, text=True, timeout=60, check=True)
    assert ended.stdout.strip() == told


def test_commands_of_other_packages_join_and_share_groups(run, monkeypatch):
    def register(commands: registry.Commands) -> None:
        commands.app.command("up")(lambda: typer.echo("serving"))
        commands.group("token", help_text="").command("issue")(lambda: typer.echo("issued"))
        commands.provide(trail.OFFLINE, lambda store, *, as_json: (typer.echo(f"{store} {as_json}"), 1)[1])

    point = EntryPoint("servers", "servers.cli:register", registry.GROUP)
    monkeypatch.setattr(EntryPoint, "load", lambda _: register)
    monkeypatch.setattr(registry, "entry_points", lambda group: [point])
    assert run("up").stdout == "serving\n"
    assert run("token", "issue").stdout == "issued\n"
    offline = run("audit", "verify", "--store", "sqlite:///x.db", "--json")
    assert (offline.exit_code, offline.stdout) == (1, "sqlite:///x.db True\n")
    assert "selene-platform[server]" not in run("--help").stdout


def test_a_package_whose_dependencies_are_absent_leaves_the_rest_working(run, monkeypatch):
    def missing(_: EntryPoint) -> None:
        raise ModuleNotFoundError("No module named 'onnxruntime'", name="onnxruntime")

    monkeypatch.setattr(EntryPoint, "load", missing)
    monkeypatch.setattr(registry, "entry_points", lambda group: [EntryPoint("servers", "servers.cli:register", group)])
    assert "onnxruntime" in run("--help").stdout
    assert run("gallery").exit_code == 0
    assert run("audit", "verify", "--store", "sqlite:///x.db").exit_code == 2


def test_flags_go_before_the_environment_and_the_environment_before_the_file(tmp_path):
    path = tmp_path / "client.toml"
    path.write_text('target = "filed:1"\ntoken_file = "/t"\ntenant = "acme"\ntimeout = 3\n')
    resolved = resolve(Settings(target="given:1", token="given"), path)
    assert (resolved.target, resolved.tenant, resolved.timeout) == ("given:1", "acme", 3.0)
    assert (resolved.token, resolved.token_file) == ("given", None)
    assert resolve(Settings(), tmp_path / "absent.toml").target == "127.0.0.1"


async def test_a_target_that_is_only_a_host_means_the_port_of_the_owner_asked(tmp_path):
    settings = resolve(Settings(), tmp_path / "absent.toml")
    assert settings.connect("voiceid").target == "127.0.0.1:7401"
    assert settings.connect("audit").target == "127.0.0.1:7402"
    apart = resolve(Settings(target="a:1", audit_target="b"), tmp_path / "absent.toml")
    assert (apart.connect("voiceid").target, apart.connect("audit").target) == ("a:1", "b:7402")


@pytest.mark.parametrize("text", ["tarqet = 'x'", "timeout = 'soon'", "target = 5", "[", "token='a'\ntoken_file='b'"])
def test_a_config_file_that_cannot_be_meant_is_refused(tmp_path, text):
    path = tmp_path / "client.toml"
    path.write_text(text)
    with pytest.raises(SettingsUnusable, match=r"client\.toml"):
        resolve(Settings(), path)


EVENTS = [
    v1.StreamStarted(stream_id="s"),
    v1.SpeechEvent(kind=v1.SpeechEventKind.SPEECH_BEGIN),
    v1.InterimConfidence(score_bp=6210, voiced=timedelta(seconds=0.9)),
    Outcome(
        "s",
        "PROBABLE",
        None,
        v2.VoiceIdDecision(
            identity_tier=v2.IdentityTier.PROBABLE,
            score_bp=9100,
            margin_to_next_bp=4000,
            reason_code=v1.VoiceIdReason.MATCH_MID,
            candidate_set=[v1.Candidate(user_id="mira")],
            next_action=v1.NextAction.PROCEED_GENERIC,
        ),
        timedelta(milliseconds=31),
        0,
    ),
]


@pytest.mark.parametrize("terminal", [True, False])
def test_the_live_view_shows_streams_rise_and_be_decided(terminal):
    out = io.StringIO()
    with LiveView(Console(file=out, force_terminal=terminal, width=200)) as view:
        one, other = view.lane("one.wav"), view.lane("two.wav", "stranger")
        for event in EVENTS:
            view.take(one, event)
            view.take(other, EVENTS[0])
    text = out.getvalue()
    for words in (
        "one.wav",
        "stranger",
        "PROBABLE mira",
        "91.00 %",
        "40.00 %",
        "MATCH_MID",
        "proceed generic",
        "31 ms",
    ):
        assert words in text
    assert ("\x1b[" in text) is terminal
    if not terminal:
        assert "one.wav: speech, 62.10 % after 0.9 s of speech" in text.splitlines()


@pytest.mark.parametrize("width", [80, 110, 150])
def test_nothing_of_the_live_view_is_cut_off_where_there_is_little_room(width):
    out = io.StringIO()
    console = Console(file=out, force_terminal=True, color_system=None, width=width)
    with LiveView(console) as view:
        lane = view.lane("speaker91", "enrolled")
        for event in EVENTS:
            view.take(lane, event)
    shown = out.getvalue()
    assert "…" not in shown
    for words in (
        "speaker91 (enrolled)",
        "PROBABLE mira",
        "91.00 %",
        "40.00 %",
        "MATCH_MID",
        "proceed generic",
        "31 ms",
    ):
        assert words in shown
    assert max(map(cell_len, shown.splitlines())) <= width


def test_the_client_imports_nothing_of_the_server():
    code = "import sys, clients, clients.cli, clients.demo; print(*{name.partition('.')[0] for name in sys.modules})"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    imported = set(done.stdout.split())
    assert "clients" in imported
    assert not imported & {"servers", "store", "bench", "onnxruntime", "sqlalchemy", "jwt", "av", "structlog"}


def test_tail_follows_and_stops_where_the_trail_ends_when_asked(run, threaded_double):
    from selene.audit.v1 import service_pb2 as audit1

    for sequence in range(1, 6):
        reply = audit1.WatchEventsResponse()
        reply.event.event.sequence = sequence
        threaded_double.events.append(reply)
    result = run("audit", "tail", "-n", "3", "--no-follow", "--json")
    assert [document["event"]["sequence"] for document in lines(result.stdout)] == ["3", "4", "5"]

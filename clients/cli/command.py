"""How the `selene` command is composed: its help, the commands of this package and those of installed ones."""

from collections.abc import Sequence
from typing import Any, Final, Protocol

import typer
from typer.core import TyperGroup

from clients.cli.registry import GET_SERVER, Commands, load_installed

_HELP = """Who is speaking, what was said, what does it mean? And which provider answered, why, and what was decided.

\b
  selene enroll mira mira/*.flac --consent form-2031
  selene identify hello.wav
  selene transcribe hello.wav
  selene ask "what time is it"
  selene say "It is noon."
  selene routes
  selene deliver send email --to ann@example.org --subject Hello --text 'It is noon.'
  selene signals list --path defect
  selene gold board
  selene audit tail

Every command takes --json. Where to call and with which token: flags, SELENE_TARGET and SELENE_TOKEN, or
~/.config/selene/client.toml with keys such as target, token_file, ca, tenant and device.
"""


_NOISE: Final = "Value error, "
"""What pydantic puts before the words of typer's own checks."""

_WORDS: Final = {
    "int_parsing": "{input!r} is no whole number",
    "int_from_float": "{input!r} is no whole number",
    "float_parsing": "{input!r} is no number",
    "greater_than_equal": "{input} is too small: at least {ge}",
    "greater_than": "{input} is too small: more than {gt}",
    "less_than_equal": "{input} is too large: at most {le}",
    "less_than": "{input} is too large: less than {lt}",
    "datetime_parsing": "{input!r} is no time: give one such as 2026-11-23 or 2026-11-23T12:30",
    "datetime_from_date_parsing": "{input!r} is no time: give one such as 2026-11-23 or 2026-11-23T12:30",
}
"""What pydantic finds wrong with a value, by its name for it, in words that name the value."""


class _Root(TyperGroup):
    """The whole command; what is wrong with a parameter is told without the words of the library that found it."""

    def invoke(self, ctx: Any) -> Any:
        try:
            return super().invoke(ctx)
        except typer.BadParameter as error:
            error.message = _told(error)
            raise


def _told(error: typer.BadParameter) -> str:
    errors = getattr(error.__cause__, "errors", None)
    for found in errors() if errors is not None else ():
        if words := _WORDS.get(found["type"]):
            return words.format(input=found["input"], **found.get("ctx", {}))
    return error.message.removeprefix(_NOISE)


def build(words: Sequence[str] = ()) -> typer.Typer:
    """The command that ``words`` are for: the whole one, from this package and every installed one that registers
    itself, or without this package's part where they name one of the others'. To import it takes as long as a
    seventh of a server's start.
    """
    app = typer.Typer(cls=_Root, no_args_is_help=True, rich_markup_mode="rich", pretty_exceptions_enable=False)
    if not words or words[0] not in _installed():
        commands = Commands(app)
        for room in _rooms():
            room.register(commands)
        load_installed(commands)
        app.callback(help=_HELP, epilog=_epilog(commands))(_root)
    else:
        load_installed(Commands(app))
        app.callback()(_root)
    return app


def _installed() -> set[str | None]:
    """The commands, not in a group, of the packages that register themselves."""
    commands = Commands(typer.Typer())
    load_installed(commands)
    return {command.name for command in commands.app.registered_commands}


class _Room(Protocol):
    def register(self, commands: Commands) -> None: ...


def _rooms() -> Sequence[_Room]:
    """This package's part, in the order in which the help shows it."""
    from clients.cli import (
        consent,
        defects,
        deliver,
        drift,
        gate,
        gold,
        judge,
        limits,
        lineage,
        manage,
        material,
        rollout,
        routes,
        secrets,
        signals,
        speak,
        talk,
        token,
        trail,
    )

    return (
        speak,
        talk,
        manage,
        routes,
        limits,
        deliver,
        signals,
        gold,
        lineage,
        gate,
        rollout,
        judge,
        defects,
        consent,
        drift,
        trail,
        secrets,
        token,
        material,
    )


def _root() -> None:
    """Holds the help of the whole command."""


def _epilog(commands: Commands) -> str:
    if "up" in {command.name for command in commands.app.registered_commands}:
        return ""
    missing = "".join(f" ({name} needs {module})" for name, module in sorted(commands.absent.items()))
    text = f"Not installed here{missing}: up, serve, migrate, models, calibrate, token issue. Get them: {GET_SERVER}"
    return text.replace("[", r"\[")

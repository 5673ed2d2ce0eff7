"""How `selene` is put together: packages register commands through the entry point group `selene.commands`.

An entry point names a function that takes a Commands. It adds commands to ``commands.app``, shares sub-commands through
``commands.group("audit", …)``, and offers what another package's command may hand over to with ``commands.provide``.
"""

import functools
import inspect
from collections.abc import Callable
from importlib.metadata import entry_points
from typing import Any, Final

import typer

GROUP: Final = "selene.commands"
GET_SERVER: Final = "pip install 'selene-platform[server]'"


class Commands:
    """The command as it grows."""

    def __init__(self, app: typer.Typer) -> None:
        self.app = app
        self.absent: dict[str, str] = {}
        self._groups: dict[str, typer.Typer] = {}
        self._provided: dict[str, Callable[..., Any]] = {}

    def group(self, name: str, *, help_text: str) -> typer.Typer:
        """The sub-commands called ``name``, made on first use; whoever comes first says what they are for."""
        if name not in self._groups:
            self._groups[name] = typer.Typer(help=help_text, no_args_is_help=True, rich_markup_mode=None)
            self.app.add_typer(self._groups[name], name=name)
        return self._groups[name]

    def provide(self, name: str, function: Callable[..., Any]) -> None:
        """Offers ``function`` to commands of other packages, such as ``audit.verify_store``."""
        self._provided[name] = function

    def provided(self, name: str) -> Callable[..., Any] | None:
        """What was offered under ``name``; None where its package is not installed."""
        return self._provided.get(name)


def runs_alone(group: typer.Typer, command: Callable[..., None], *, epilog: str) -> None:
    """Makes ``command`` what the group does where none of its sub-commands is named."""

    @functools.wraps(command)
    def alone(ctx: typer.Context, **values: Any) -> None:
        if ctx.invoked_subcommand is None:
            command(**values)

    given = inspect.signature(command).parameters.values()
    context = inspect.Parameter("ctx", inspect.Parameter.KEYWORD_ONLY, annotation=typer.Context)
    alone.__signature__ = inspect.Signature([context, *given])  # type: ignore[attr-defined]  # how inspect finds it
    alone.__annotations__ = {"ctx": typer.Context, **{each.name: each.annotation for each in given}}
    del alone.__wrapped__  # or typer would read the signature of what is wrapped
    group.callback(help=command.__doc__, invoke_without_command=True, no_args_is_help=False, epilog=epilog)(alone)


def load_installed(commands: Commands) -> None:
    """Registers every entry point of the group. One whose dependencies are not installed is noted in ``absent``."""
    for point in sorted(entry_points(group=GROUP), key=lambda point: point.name):
        try:
            register = point.load()
        except ModuleNotFoundError as missing:
            commands.absent[point.name] = missing.name or str(missing)
        else:
            register(commands)

"""The `selene` command. What goes over gRPC lives here; what needs the server's own code registers itself beside it.

Nothing heavy is imported before `main` runs: gRPC reads its environment when it is imported, and the imports take
seconds, in which Ctrl-C is no defect.
"""

import gc
import os
import sys
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Sequence

    import typer

INTERRUPTED: Final = 130

# gRPC's own lines on stderr: of a fork that is followed by exec at once, and of failures that its errors tell anyway.
_QUIET: Final = {"GRPC_ENABLE_FORK_SUPPORT": "0", "GRPC_VERBOSITY": "NONE"}


def build(words: "Sequence[str]" = ()) -> "typer.Typer":
    """The whole command, from this package and every installed one that registers itself; or what ``words`` need."""
    from clients.cli import command

    return command.build(words)


def main() -> None:
    """Entry point of the `selene` script. What the environment says of gRPC's logging goes before what is said here."""
    for name, value in _QUIET.items():
        os.environ.setdefault(name, value)
    try:
        # What is imported is no garbage: to look for it takes a fifth of the time.
        gc.disable()
        command = build(sys.argv[1:])
        gc.freeze()
        gc.enable()
        command()
    except KeyboardInterrupt:
        sys.exit(INTERRUPTED)

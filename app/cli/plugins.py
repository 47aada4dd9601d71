"""Commands of other packages, from the entry-point group `dapple.commands`, imported on use."""

from collections.abc import Callable
from importlib.metadata import EntryPoint, entry_points
from typing import Any

import typer

from app.distribution import install_extra

GROUP = "dapple.commands"


def add_installed_commands(app: typer.Typer) -> None:
    """Register every installed command under its name, without importing it."""
    for entry in sorted(entry_points(group=GROUP), key=lambda entry: entry.name):
        add_command(app, entry)


def add_command(app: typer.Typer, entry: EntryPoint) -> None:
    """Register one command.

    The command parses its own arguments, including `--help`, so listing it needs no import.
    """
    everything: dict[str, Any] = {"allow_extra_args": True, "ignore_unknown_options": True, "help_option_names": []}
    text = f"Provided by {entry.module}; see `dapple {entry.name} --help`."
    app.command(entry.name, help=text, context_settings=everything)(_deferred(entry))


def _deferred(entry: EntryPoint) -> Callable[[typer.Context], None]:
    def run(context: typer.Context) -> None:
        command = typer.Typer(add_completion=False, pretty_exceptions_enable=False)
        command.command(entry.name)(_loaded(entry))
        command(args=context.args, prog_name=context.command_path)

    return run


def _loaded(entry: EntryPoint) -> Callable[..., None]:
    try:
        return entry.load()
    except ModuleNotFoundError as error:
        raise typer.BadParameter(
            f"`{entry.name}` needs {error.name}, which is not installed; {install_extra('worker')}"
        ) from error

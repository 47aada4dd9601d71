"""Output of the commands: answers go to standard output, everything else to standard error."""

import json
from collections.abc import Callable
from enum import IntEnum
from typing import Annotated, Any, cast

import typer
from rich.console import Console

from app.client import DEFAULT_URL, Client
from app.domain.text import printable_json, printable_lines

# Print names and messages from outside verbatim: without markup, emoji names or links.
answers = Console(highlight=False, markup=False, emoji=False)
messages = Console(stderr=True, highlight=False, markup=False, emoji=False)

Url = Annotated[str, typer.Option("--url", envvar="DAPPLE_URL", help="The service to talk to.")]
AsJson = Annotated[bool, typer.Option("--json", help="Print one JSON document and nothing else.")]
JobId = Annotated[str, typer.Argument(help="The job's id.", metavar="JOB", show_default=False)]

__all__ = ["DEFAULT_URL", "AsJson", "ExitCode", "JobId", "Url", "answers", "complain", "connect", "messages", "print_json"]


class ExitCode(IntEnum):
    """The exit codes of the commands."""

    OK = 0
    FAILED = 1
    USAGE = 2
    UNREACHABLE = 3
    INTERRUPTED = 130


def connect(context: typer.Context, url: str) -> Client:
    """A client of the service at `url`."""
    return cast(Callable[[str], Client], context.obj or Client)(url)


def complain(text: str) -> None:
    """Print an error on as many lines as it has, with its control characters as escapes."""
    messages.print(f"dapple: {printable_lines(text)}", soft_wrap=True, style="red")


def print_json(document: Any) -> None:
    """Print the one JSON document that `--json` promises."""
    typer.echo(printable_json(json.dumps(document, indent=2, ensure_ascii=False)))

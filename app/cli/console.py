"""Where the commands print: answers to standard output, everything else to standard error."""

import json
from collections.abc import Callable
from enum import IntEnum
from typing import Annotated, Any, cast

import typer
from rich.console import Console

from app.client import DEFAULT_URL, Client

answers = Console(highlight=False)
messages = Console(stderr=True, highlight=False)

Url = Annotated[str, typer.Option("--url", envvar="DAPPLE_URL", help="The service to talk to.")]
AsJson = Annotated[bool, typer.Option("--json", help="Print one JSON document and nothing else.")]
JobId = Annotated[str, typer.Argument(help="The job's id.", metavar="JOB", show_default=False)]

__all__ = ["DEFAULT_URL", "AsJson", "ExitCode", "JobId", "Url", "answers", "complain", "connect", "messages", "print_json"]


class ExitCode(IntEnum):
    """What the shell sees."""

    OK = 0
    FAILED = 1
    USAGE = 2
    UNREACHABLE = 3
    INTERRUPTED = 130


def connect(context: typer.Context, url: str) -> Client:
    """A client of the service at `url`."""
    return cast(Callable[[str], Client], context.obj or Client)(url)


def complain(text: str) -> None:
    """Print an error as it is: no part of it is taken for markup or wrapped."""
    messages.print(f"dapple: {text}", markup=False, soft_wrap=True, style="red")


def print_json(document: Any) -> None:
    """Print the one JSON document that `--json` promises."""
    typer.echo(json.dumps(document, indent=2, ensure_ascii=False))

"""`dapple token`: print the access token of this account's service for other programs."""

import typer

from app.access_token import token_for
from app.cli.console import DEFAULT_URL, ExitCode, Url, complain


def token(url: Url = DEFAULT_URL) -> None:
    """Print the access token of a service that this account runs, as in `curl -H "Authorization:
    Bearer $(dapple token)"`.
    """
    found = token_for(url)
    if found is None:
        complain(f"no service of this account is known at {url}; start one with `dapple up`, or set DAPPLE_ACCESS_TOKEN")
        raise typer.Exit(ExitCode.UNREACHABLE)
    typer.echo(found)

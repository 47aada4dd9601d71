"""`dapple version`."""

from importlib.metadata import version as installed_version

import typer


def version() -> None:
    """Print the version."""
    typer.echo(f"dapple {installed_version('dapple')}")

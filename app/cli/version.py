"""`dapple version`."""

from importlib.metadata import version as installed_version

import typer

from app.distribution import DISTRIBUTION


def version() -> None:
    """Print the version."""
    typer.echo(f"dapple {installed_version(DISTRIBUTION)}")

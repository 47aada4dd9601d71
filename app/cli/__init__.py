"""The command `dapple`: it runs the service and its jobs; other packages can add commands."""

from collections.abc import Callable, Sequence

import typer

from app.cli.console import ExitCode, complain
from app.cli.demo import demo
from app.cli.distil import distil
from app.cli.doctor import doctor
from app.cli.jobs import backbones, download, jobs, workers
from app.cli.migrate import migrate
from app.cli.plugins import add_installed_commands
from app.cli.serve import serve
from app.cli.token import token
from app.cli.up import up
from app.cli.version import version
from app.client import ApiError, Client, ServiceUnreachable
from app.domain.errors import DappleError, InvalidSpec, WrongSettings

app = typer.Typer(name="dapple", no_args_is_help=True, add_completion=False, pretty_exceptions_enable=False)
for command in (up, serve, demo, distil, download, backbones, workers, migrate, doctor, token, version):
    app.command()(command)
app.add_typer(jobs)
add_installed_commands(app)


@app.callback()
def root() -> None:
    """Small synthetic datasets that train a classifier almost as well as the real one."""


def main(arguments: Sequence[str] | None = None, connect: Callable[[str], Client] = Client) -> None:
    """Run one command and exit with its code. `connect` opens the connection to a service."""
    try:
        app(args=arguments, obj=connect)
    except DappleError as error:
        complain(str(error))
        raise SystemExit(_exit_code(error)) from error


def _exit_code(error: DappleError) -> ExitCode:
    if isinstance(error, ServiceUnreachable):
        return ExitCode.UNREACHABLE
    rejected = isinstance(error, InvalidSpec | WrongSettings) or (isinstance(error, ApiError) and error.problem.status < 500)
    return ExitCode.USAGE if rejected else ExitCode.FAILED

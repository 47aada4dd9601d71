from importlib.metadata import EntryPoint

import pytest
import typer

from app.cli.plugins import add_command


def plugin(app: typer.Typer, target: str) -> None:
    add_command(app, EntryPoint("extra", target, "dapple.commands"))


def extra_command(name: str, times: int = 1) -> None:
    typer.echo(name * times)


@pytest.fixture
def group() -> typer.Typer:
    group = typer.Typer()
    group.callback()(lambda: None)
    return group


def test_an_added_command_takes_its_own_options(group: typer.Typer, capsys: pytest.CaptureFixture[str]):
    plugin(group, f"{__name__}:extra_command")

    with pytest.raises(SystemExit) as ended:
        group(args=["extra", "--times", "2", "ab"])

    assert ended.value.code == 0
    assert capsys.readouterr().out == "abab\n"


def test_an_added_command_is_listed_without_being_imported(group: typer.Typer, capsys: pytest.CaptureFixture[str]):
    plugin(group, "not_installed_anywhere:command")

    with pytest.raises(SystemExit):
        group(args=["--help"])

    assert "extra" in capsys.readouterr().out


def test_an_added_command_that_cannot_be_imported_says_what_to_install(group: typer.Typer, capsys: pytest.CaptureFixture[str]):
    plugin(group, "not_installed_anywhere:command")

    with pytest.raises(SystemExit) as ended:
        group(args=["extra"])

    assert ended.value.code == 2
    assert "not_installed_anywhere" in capsys.readouterr().err

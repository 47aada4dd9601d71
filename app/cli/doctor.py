"""`dapple doctor`: what is wrong with this installation, and what to do about it."""

from dataclasses import asdict

import typer
from rich.text import Text

from app.cli.console import AsJson, ExitCode, answers, print_json
from app.domain.diagnosis import Finding, Verdict, is_sound
from app.domain.errors import WrongSettings
from app.services.diagnosis import diagnose
from app.settings import settings_from
from app.storage.choice import store_for

STYLES = {Verdict.OK: "green", Verdict.WARN: "yellow", Verdict.FAIL: "bold red"}


def doctor(as_json: AsJson = False) -> None:
    """Check this installation as the DAPPLE_* variables configure it; needs no running service. Exit code 1 if a check fails.

    Run it where a process of the service runs, with its environment: each machine sees its own folders and network.
    """
    findings = _findings()
    if as_json:
        print_json([asdict(finding) for finding in findings])
    else:
        for finding in findings:
            answers.print(_line(finding), soft_wrap=True)
    raise typer.Exit(ExitCode.OK if is_sound(findings) else ExitCode.FAILED)


def _findings() -> list[Finding]:
    try:
        settings = settings_from()
    except WrongSettings as error:
        return [Finding("settings", Verdict.FAIL, f"{name}: {fault}", "correct it") for name, fault in error.faults]
    return diagnose(settings, store_for)


def _line(finding: Finding) -> Text:
    verdict = Text(f"{finding.verdict:<5}", STYLES[finding.verdict])
    advice = f" -- {finding.advice}" if finding.advice else ""
    return verdict + Text(f"{finding.subject}: {finding.message}{advice}")

"""`dapple doctor`: find the faults of this installation, and say how to correct them."""

from collections.abc import Iterator
from dataclasses import asdict
from functools import partial
from typing import Annotated

import typer
from rich.text import Text

from app.cli.console import AsJson, ExitCode, answers, print_json
from app.doctor import checks
from app.doctor.diagnosis import collected, diagnose
from app.doctor.findings import Finding, Verdict, is_sound
from app.domain.errors import WrongSettings
from app.domain.text import printable_lines
from app.settings import settings_from
from app.storage.factory import store_for

STYLES = {Verdict.OK: "green", Verdict.WARN: "yellow", Verdict.FAIL: "bold red"}


Verify = Annotated[
    bool, typer.Option("--verify", help="Also read every archive and preview and compare its SHA-256; may take long.")
]


def doctor(as_json: AsJson = False, verify: Verify = False) -> None:
    """Check this installation as the DAPPLE_* variables configure it. The exit code is 1 if a check
    fails.

    It needs no running service. Run it on a machine of the service, in the environment of its
    process: it checks the folders and the network of that machine.
    """
    findings: list[Finding] = []
    for finding in _findings(verify=verify):
        findings.append(finding)
        if not as_json:
            answers.print(_line(finding), soft_wrap=True)
    if as_json:
        print_json([asdict(finding) for finding in findings])
    raise typer.Exit(ExitCode.OK if is_sound(findings) else ExitCode.FAILED)


def _findings(*, verify: bool) -> Iterator[Finding]:
    try:
        settings = settings_from()
    except WrongSettings as error:
        yield from (
            Finding("settings", Verdict.FAIL, f"{name}: {fault}", f"correct {name} or unset it") for name, fault in error.faults
        )
        return
    yield from diagnose(settings, store_for)
    if verify:
        yield from collected("outputs", partial(checks.outputs, settings, store_for))


def _line(finding: Finding) -> Text:
    verdict = Text(f"{finding.verdict:<5}", STYLES[finding.verdict])
    advice = f" -- {finding.advice}" if finding.advice else ""
    return verdict + Text(printable_lines(f"{finding.subject}: {finding.message}{advice}"))

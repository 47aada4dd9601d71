"""Run all checks of the configured installation."""

import os
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from queue import Empty, SimpleQueue

from app.doctor import checks
from app.doctor.checks import ADVICE, PATIENCE_SECONDS, OpenStore, install_command
from app.doctor.findings import Finding, Verdict
from app.domain.errors import DappleError
from app.settings import Settings

Check = Callable[[], Iterator[Finding]]


def diagnose(settings: Settings, open_store: OpenStore, environ: Mapping[str, str] = os.environ) -> list[Finding]:
    """All findings, in a fixed order.

    The checks run in parallel, each for PATIENCE_SECONDS at most.
    """
    every: Mapping[str, Check] = {
        "settings": partial(checks.environment, settings, environ),
        "packages": partial(checks.packages, settings, environ),
        "data folder": partial(checks.data_folder, settings),
        "database": partial(checks.database, settings),
        "artifacts": partial(checks.artifacts, settings, open_store),
        "broker": partial(checks.broker, settings),
        "datasets": partial(checks.dataset_roots, settings),
        "backbones": partial(checks.backbones, settings),
        "device": partial(checks.device, settings),
    }
    running = [(subject, _started(subject, check)) for subject, check in every.items()]
    deadline = time.monotonic() + PATIENCE_SECONDS
    return [finding for subject, results in running for finding in _awaited(subject, results, deadline)]


def _started(subject: str, check: Check) -> SimpleQueue[Sequence[Finding]]:
    """Start the check; return the queue for its findings.

    Its thread is a daemon, so that a check that hangs does not keep the process alive.
    """
    results: SimpleQueue[Sequence[Finding]] = SimpleQueue()
    threading.Thread(target=lambda: results.put(list(collected(subject, check))), name=subject, daemon=True).start()
    return results


def collected(subject: str, check: Check) -> Iterator[Finding]:
    """The findings of a check, and one for the error that ended it, if any."""
    try:
        yield from check()
    except ModuleNotFoundError as error:
        yield Finding(subject, Verdict.FAIL, f"{error.name} is not installed", install_command(error.name or ""))
    except DappleError as error:
        yield Finding(subject, Verdict.FAIL, str(error), ADVICE.get(subject, ""))
    except Exception as error:  # noqa: BLE001 - every error of a check becomes a finding
        yield Finding(subject, Verdict.FAIL, f"{type(error).__name__}: {error}", ADVICE.get(subject, ""))


def _awaited(subject: str, results: SimpleQueue[Sequence[Finding]], deadline: float) -> Sequence[Finding]:
    try:
        return results.get(timeout=max(0.0, deadline - time.monotonic()))
    except Empty:
        message = f"no answer within {PATIENCE_SECONDS:g} s"
        return [Finding(subject, Verdict.FAIL, message, ADVICE.get(subject, "find out what it waits for"))]

"""`make faults`: many jobs under many faults, and whether anything was lost; the last line is JSON."""

import argparse
import json
import secrets
import signal
import sys
import tempfile
import time
from pathlib import Path

from app.log import configure
from tests.faults import servers, stale
from tests.faults.run import SHORT, Plan, run

STALE_TRIALS = 200


def main() -> int:
    """1 if anything was not as it must be."""
    parser = argparse.ArgumentParser(prog="python -m tests.faults", description=__doc__)
    parser.add_argument("--jobs", type=int, default=1000)
    parser.add_argument("--faults", type=int, default=200)
    parser.add_argument("--workers", type=int, default=4)
    parser.add_argument("--seed", type=int, default=secrets.randbelow(2**32), help="of the faults; default: a new one")
    parser.add_argument("--logs", type=Path, help="folder for what every process says; default: a new one")
    parser.add_argument("--short", action="store_true", help="leases of 2 s instead of the default settings")
    chosen = parser.parse_args()
    if missing := servers.missing():
        sys.exit(f"not installed: {', '.join(missing)}")
    logs = chosen.logs or Path(tempfile.mkdtemp(prefix="dapple-faults-logs-"))
    print(f"seed {chosen.seed}, logs in {logs}", file=sys.stderr, flush=True)
    configure("WARNING")
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # so that what was started is ended
    started = time.monotonic()
    found = run(Plan(chosen.jobs, chosen.faults, chosen.seed, chosen.workers, logs, SHORT if chosen.short else {}))
    took = f"{time.monotonic() - started:.0f} s, {len(found.resumed)} tasks resumed after a kill, p99 {found.resume_p99_s} s"
    print(f"{took}; wrong: {found.wrong or 'nothing'}", file=sys.stderr)
    trials = stale.try_on_own_server(logs, trials=STALE_TRIALS, seed=chosen.seed)
    print(
        f"{trials.trials} stopped workers woke up after their lease changed hands: {len(trials.stale)} stale writes",
        file=sys.stderr,
    )
    for which in trials.stale:
        print(which, file=sys.stderr)
    print(f"seed {chosen.seed}, logs in {logs}", file=sys.stderr, flush=True)
    summary = {
        "jobs": chosen.jobs,
        "faults": chosen.faults,
        "lost": len(found.lost),
        "duplicated": len(found.duplicated),
        "not_terminal": len(found.not_terminal),
        "sha_mismatch": len(found.sha_mismatch),
        "resume_p99_s": found.resume_p99_s,
    }
    print(json.dumps(summary))
    return 1 if found.wrong or trials.stale else 0


if __name__ == "__main__":
    sys.exit(main())

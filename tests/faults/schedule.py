"""Which faults happen, to whom, and for how long: all drawn from one seed."""

import random
from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum


class Kind(StrEnum):
    WORKER_KILLED = "worker-killed"
    WORKER_STOPPED = "worker-stopped"  # SIGSTOP past its lease, then SIGCONT
    WORKER_CLOCK = "worker-clock"  # started again with a clock that is ten minutes off
    API_KILLED = "api-killed"
    SWEEPER_KILLED = "sweeper-killed"
    REDIS_FLUSHED = "redis-flushed"
    REDIS_RESTARTED = "redis-restarted"
    REDIS_OUTAGE = "redis-outage"
    POSTGRES_FAST = "postgres-fast-restart"
    POSTGRES_IMMEDIATE = "postgres-immediate-restart"
    STORE_SILENT = "store-silent"
    STORE_REFUSES = "store-refuses"
    DISK_FULL = "disk-full"
    NETWORK_CUT = "network-cut"
    NETWORK_HALF_OPEN = "network-half-open"
    NETWORK_SLOW = "network-slow"


OFTEN = {Kind.WORKER_KILLED: 4, Kind.NETWORK_CUT: 2, Kind.NETWORK_HALF_OPEN: 2}  # the others have weight 1
PAUSE_SECONDS = (0.3, 3.0)  # between two faults
CLOCKS = (-600, 600)


@dataclass(frozen=True, kw_only=True)
class Fault:
    """`worker`, `service` and `clock_seconds` say whom it hits where the kind leaves that open."""

    number: int
    kind: Kind
    pause_seconds: float
    seconds: float
    worker: int
    service: str
    clock_seconds: int

    def __str__(self) -> str:
        about = {
            Kind.WORKER_CLOCK: f"worker-{self.worker} {self.clock_seconds:+} s",
            Kind.WORKER_STOPPED: f"worker-{self.worker}",
        }
        about[Kind.WORKER_KILLED] = f"worker-{self.worker}"
        network = f"worker-{self.worker} to {self.service}" if self.kind.startswith("network") else ""
        return f"fault {self.number}: {self.kind} {about.get(self.kind, network)} for {self.seconds:.1f} s"


def schedule(
    seed: int, count: int, *, kinds: Sequence[Kind], workers: int, services: Sequence[str], lease: float
) -> list[Fault]:
    """`count` faults, every kind among them if there are enough; a stopped worker sleeps past its lease of `lease` seconds."""
    draw = random.Random(seed)  # noqa: S311 - a schedule is no secret
    drawn = list(kinds) if count >= len(kinds) else []
    drawn += draw.choices(kinds, [OFTEN.get(kind, 1) for kind in kinds], k=count - len(drawn))
    draw.shuffle(drawn)
    return [
        Fault(
            number=number,
            kind=kind,
            pause_seconds=draw.uniform(*PAUSE_SECONDS),
            seconds=_seconds(draw, kind, lease),
            worker=draw.randrange(workers),
            service=draw.choice(services),
            clock_seconds=draw.choice(CLOCKS),
        )
        for number, kind in enumerate(drawn, 1)
    ]


def _seconds(draw: random.Random, kind: Kind, lease: float) -> float:
    match kind:
        case Kind.WORKER_STOPPED:
            return lease * draw.uniform(1.1, 1.5)
        case Kind.REDIS_OUTAGE:
            return draw.uniform(6, 12)
        case Kind.DISK_FULL | Kind.NETWORK_HALF_OPEN:
            return draw.uniform(2, 6)
        case _:
            return draw.uniform(0.5, 4)

"""Which worker gets which task, on both databases."""

import time

from app.db import leases
from app.db.session import Database
from app.domain.job import Lease
from app.domain.worker import Claimant
from tests.unit.app.stored import SPEC, submitted

RED = Claimant("red", backbones=frozenset({"red"}))
BLUE = Claimant("blue", backbones=frozenset({"blue"}))


def submit(database: Database, *backbones: str) -> None:
    for backbone in backbones:
        submitted(database, SPEC.model_copy(update={"backbone": backbone}))


def claim(database: Database, claimant: Claimant) -> Lease | None:
    with database.transaction() as session:
        return leases.claim(session, claimant, 60.0)


def backbone_claimed(database: Database, claimant: Claimant) -> str:
    lease = claim(database, claimant)
    assert lease is not None
    return lease.spec.backbone


def test_of_two_workers_each_keeps_to_its_backbone_while_both_have_a_choice(database: Database):
    submit(database, "red", "blue", "red", "blue", "blue", "red")

    taken = [(worker.name, backbone_claimed(database, worker)) for worker in (BLUE, RED, BLUE, RED, RED, BLUE)]

    assert all(name == backbone for name, backbone in taken)


def test_a_worker_without_a_choice_takes_what_there_is(database: Database):
    submit(database, "blue")
    assert backbone_claimed(database, RED) == "blue"


def test_a_task_that_nobody_is_warm_for_is_taken_once_it_has_waited_long_enough(database: Database):
    submit(database, "green")
    time.sleep(0.2)
    submit(database, "red", "red", "red")
    patient, impatient = RED, Claimant("red", backbones=RED.backbones, patience_seconds=0.1)

    assert backbone_claimed(database, patient) == "red"
    assert backbone_claimed(database, impatient) == "green"

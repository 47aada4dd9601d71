"""README's commands work as they are written: each is run here, or started by a script that this test names."""

import json
import os
import re
import shlex
import subprocess
from collections.abc import Generator
from pathlib import Path

import pytest
from PIL import Image

from tests.docker.compose import SECRET, SECRETS, project
from tests.e2e.embedded import Embedded
from tests.e2e.service import DAPPLE

ROOT = Path(__file__).parents[2]
BLOCKS = re.findall(r"^```sh\n(.*?)^```$", (ROOT / "README.md").read_text(), flags=re.MULTILINE | re.DOTALL)
TWO_COMMANDS, UP, DISTIL, OVER_HTTP, OWN_IMAGES, MANY_MACHINES = BLOCKS
BRIEF = "--steps 2 --image-size 8 --blocks 1"  # what README's training takes minutes for


def commands(block: str) -> list[list[str]]:
    """The words of each command, without comments."""
    return [words for line in block.replace("\\\n", " ").splitlines() if (words := shlex.split(line, comments=True))]


@pytest.fixture
def service(tmp_path: Path) -> Generator[Embedded]:
    service = Embedded(tmp_path / "data", dataset_root=tmp_path)
    yield service
    if service.running:
        service.kill()


def run(script: str, folder: Path, service: Embedded) -> str:
    """What a block prints, run in `folder` against this service; it must succeed."""
    dapple = " ".join(map(shlex.quote, DAPPLE))
    script = script.replace(".venv/bin/dapple", dapple).replace("localhost:8000", service.url.removeprefix("http://"))
    environment = os.environ | {"DAPPLE_URL": service.url, "DAPPLE_DATA_DIR": str(service.data_dir), "PYTHONPATH": str(ROOT)}
    ran = subprocess.run(["/bin/bash", "-euc", script], cwd=folder, env=environment, capture_output=True, text=True)
    assert ran.returncode == 0, ran.stderr + service.log()
    return ran.stdout


def test_the_two_commands_are_targets_that_ci_runs():
    assert commands(TWO_COMMANDS) == [["make", "demo"], ["make", "test"]]
    for words in commands(TWO_COMMANDS):
        assert shlex.join(words) in (ROOT / ".ci" / "run").read_text()


@pytest.mark.slow
def test_the_smallest_session(service: Embedded, tmp_path: Path):
    assert commands(UP) == [[".venv/bin/dapple", "up"]]
    service.start()
    run(DISTIL.replace(" --evaluate", "").replace("--ipc 10", "--ipc 1"), tmp_path, service)
    submit, rest = OVER_HTTP.replace('"ipc": 10', '"ipc": 1').split("curl -s -H", 1)
    job_id = json.loads(run(submit, tmp_path, service))["id"]
    service.client.wait(job_id)
    auth = submit.splitlines()[0]
    printed = run(f"{auth}\ncurl -s -H{rest}".replace("JOB", job_id), tmp_path, service)
    assert '"state":"succeeded"' in printed
    assert "event: job.succeeded" in printed
    assert (tmp_path / f"dapple-{job_id}.zip").read_bytes() == (tmp_path / "digits.zip").read_bytes()


@pytest.mark.slow
def test_own_images(service: Embedded, tmp_path: Path):
    for name, colour in (("daisy", "white"), ("rose", "red")):
        (tmp_path / "flowers" / name).mkdir(parents=True)
        for number in range(16):
            Image.new("RGB", (8, 8), colour).save(tmp_path / "flowers" / name / f"{number}.png")
    train, up, distil = OWN_IMAGES.strip().splitlines()
    assert shlex.split(up) == [".venv/bin/dapple", "up", "--dataset-root", "$PWD"]
    service.start()
    run(f"{train} {BRIEF}", tmp_path, service)
    run(distil.replace(" --evaluate", "").replace("--ipc 10", "--ipc 1"), tmp_path, service)
    assert (tmp_path / "flowers-10.zip").exists()


def test_the_commands_of_many_machines_are_those_that_the_tests_of_compose_start():
    """And `dapple doctor`, which tests/integration/test_doctor.py runs."""
    started = {words[1] for words in commands(MANY_MACHINES) if words[0] == "dapple"}
    services = project(dict.fromkeys(SECRETS, SECRET))["services"]
    in_compose = {service["command"][1] for service in services.values() if service.get("command", [""])[0] == "dapple"}
    assert started == in_compose | {"doctor"}

"""The container files, without an engine: what a linter and the specification can tell."""

import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml
from compose_spec import PyCompose

from app.settings import Settings
from tests.docker.compose import FILE, ROOT, SECRET, SECRETS, Unset, project

DOCKERFILES = sorted((ROOT / "docker").glob("*.Dockerfile"))
OURS = ("migrate", "api", "sweeper", "worker", "worker-gpu")


@pytest.fixture(scope="module")
def services() -> dict[str, Any]:
    return project(dict.fromkeys(SECRETS, SECRET))["services"]


def test_the_compose_file_is_what_the_specification_allows() -> None:
    merged = yaml.dump(
        project(dict.fromkeys(SECRETS, SECRET)), Dumper=type("Plain", (yaml.SafeDumper,), {"ignore_aliases": lambda *_: True})
    )
    assert set(OURS) < set(PyCompose.from_yaml(merged).service_names())


@pytest.mark.parametrize("dockerfile", DOCKERFILES, ids=lambda path: path.name)
def test_a_dockerfile_is_clean(dockerfile: Path) -> None:
    hadolint = Path(sys.executable).with_name("hadolint")
    done = subprocess.run([hadolint, dockerfile], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout


@pytest.mark.parametrize("secret", SECRETS)
def test_no_secret_has_a_default(secret: str) -> None:
    with pytest.raises(Unset, match=secret):
        project(dict.fromkeys(set(SECRETS) - {secret}, SECRET))
    assert f"{secret}=\n" in (ROOT / ".env.example").read_text()


def test_every_image_is_pinned_and_none_is_the_latest(services: dict[str, Any]) -> None:
    tags = [service["image"].partition(":")[2] for service in services.values()]
    assert all(any(sign.isdigit() for sign in tag) for tag in tags), tags
    for dockerfile in DOCKERFILES:
        bases = [line.split()[1] for line in dockerfile.read_text().splitlines() if line.startswith("FROM ")]
        assert all(base.count(".") >= 2 for base in bases), bases


def test_our_containers_run_confined_and_not_as_root(services: dict[str, Any]) -> None:
    for name in OURS:
        service = services[name]
        assert service["read_only"] is True
        assert service["cap_drop"] == ["ALL"]
        users = [line for line in (ROOT / service["build"]["dockerfile"]).read_text().splitlines() if line.startswith("USER ")]
        assert users == ["USER 10001:10001"]


def test_whoever_stays_is_watched_and_starts_after_the_migration(services: dict[str, Any]) -> None:
    assert services["migrate"]["restart"] == "on-failure"
    for name in set(services) - {"migrate"}:
        assert services[name]["restart"] == "unless-stopped"
        assert services[name]["healthcheck"]["test"][0] == "CMD"
    for name in set(OURS) - {"migrate"}:
        assert services[name]["depends_on"]["migrate"] == {"condition": "service_completed_successfully"}


def test_ports_are_published_on_loopback_only(services: dict[str, Any]) -> None:
    published = [port for service in services.values() for port in service.get("ports", ())]
    assert published
    assert all(port.startswith("127.0.0.1:") for port in published)


def test_the_image_of_the_api_has_no_torch() -> None:
    text = (ROOT / "docker" / "api.Dockerfile").read_text()
    installed = next(line for line in text.splitlines() if "'.[" in line)
    assert "worker" not in installed


def test_named_volumes_are_declared(services: dict[str, Any]) -> None:
    declared = set(yaml.safe_load(FILE.read_text())["volumes"])
    used = {volume.split(":")[0] for service in services.values() for volume in service.get("volumes", ())}
    assert {name for name in used if not name.startswith((".", "/"))} == declared


# What differs between services, or is a place inside a container.
ELSEWHERE = {
    "DAPPLE_ACCESS_TOKEN": "of the API alone",
    "DAPPLE_ALLOWED_HOSTS": "of the API alone",
    "DAPPLE_DEVICE": "one worker has the GPU",
    "DAPPLE_METRICS_HOST": "of workers alone",
    "DAPPLE_METRICS_PORT": "of workers alone",
    "DAPPLE_POLL_SECONDS": "for workers without a broker",
    "DAPPLE_S3_REGION": "the store here has none",
}


def test_every_setting_of_env_reaches_every_service(services: dict[str, Any]) -> None:
    settable = {f"DAPPLE_{name.upper()}" for name in Settings.model_fields} - set(ELSEWHERE)
    tuned = project(dict.fromkeys(SECRETS, SECRET) | dict.fromkeys(settable, "7"))["services"]
    for name in OURS:
        assert settable <= set(tuned[name]["environment"]), settable - set(tuned[name]["environment"])
        assert not {"DAPPLE_BATCH_SIZE", "DAPPLE_THREADS"} & set(services[name]["environment"])  # our own defaults hold


def test_no_secret_is_on_a_command_line(services: dict[str, Any]) -> None:
    assert all(SECRET not in str(service.get("command", "")) for service in services.values())
    assert all(SECRET not in str(service["healthcheck"]) for service in services.values() if "healthcheck" in service)


def test_the_server_of_messages_is_the_first_process_of_its_container(services: dict[str, Any], tmp_path: Path) -> None:
    """It reads its password from standard input; a shell in front of it would get the signals that are meant for it."""
    stand_in = tmp_path / "redis-server"
    stand_in.write_text('#!/bin/sh\necho "$$ $*"\ncat\n')
    stand_in.chmod(0o755)
    environment = {"PATH": f"{tmp_path}:/usr/bin:/bin", "REDISCLI_AUTH": SECRET}
    with subprocess.Popen(services["redis"]["command"], env=environment, stdout=subprocess.PIPE, text=True) as process:
        output, _ = process.communicate(timeout=20)
    assert output == f'{process.pid} -\nsave ""\nappendonly no\nrequirepass {SECRET}\n'


def test_every_container_is_limited_and_gains_no_privileges(services: dict[str, Any]) -> None:
    for service in services.values():
        assert service["security_opt"] == ["no-new-privileges:true"]
        assert service["mem_limit"].endswith("g") or service["mem_limit"].endswith("m")
        assert service["pids_limit"] > 0
        assert {"max-size", "max-file"} <= set(service["logging"]["options"])


def test_our_processes_do_not_use_the_superuser_of_the_database(services: dict[str, Any]) -> None:
    role = (ROOT / "docker" / "postgres-role.sh").read_text()
    assert "CREATE ROLE dapple LOGIN" in role
    assert "NOSUPERUSER" in role
    assert "POSTGRES_USER" not in services["postgres"]["environment"]
    assert all(services[name]["environment"]["DAPPLE_DATABASE_URL"].startswith("postgresql://dapple:") for name in OURS)


def test_the_database_is_healthy_only_once_it_listens_on_tcp(services: dict[str, Any]) -> None:
    assert services["postgres"]["healthcheck"]["test"][:4] == ["CMD", "pg_isready", "-h", "127.0.0.1"]


@pytest.mark.parametrize("path", [*DOCKERFILES, FILE, ROOT / ".env.example"], ids=lambda path: path.name)
def test_no_package_index_is_named(path: Path) -> None:
    assert [host for host in ("pypi.org", "pytorch.org", "pythonhosted.org") if host in path.read_text()] == []


def test_secrets_are_not_committed() -> None:
    assert ".env" in (ROOT / ".gitignore").read_text().splitlines()

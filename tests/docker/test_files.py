"""The container files, without an engine: what a linter and the specification can tell."""

import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml
from compose_spec import PyCompose

from tests.docker.compose import FILE, ROOT, SECRETS, Unset, project

DOCKERFILES = sorted((ROOT / "docker").glob("*.Dockerfile"))
OURS = ("migrate", "api", "sweeper", "worker", "worker-gpu")


@pytest.fixture(scope="module")
def services() -> dict[str, Any]:
    return project(dict.fromkeys(SECRETS, "secret"))["services"]


def test_the_compose_file_is_what_the_specification_allows() -> None:
    merged = yaml.dump(
        project(dict.fromkeys(SECRETS, "secret")), Dumper=type("Plain", (yaml.SafeDumper,), {"ignore_aliases": lambda *_: True})
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
        project(dict.fromkeys(set(SECRETS) - {secret}, "secret"))
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
    assert services["migrate"]["restart"] == "no"
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

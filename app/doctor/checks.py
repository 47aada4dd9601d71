"""The checks of an installation's parts. They change nothing, except probes that are removed."""

import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from importlib.util import find_spec
from pathlib import Path
from uuid import uuid4

import httpx
from sqlalchemy import URL, make_url

from app import tracing
from app.backbones.catalog import survey
from app.db import counts
from app.db.schema import Fit, schema_of
from app.db.session import Database, seconds_now
from app.distribution import install_extra
from app.doctor.artifact_verification import verify
from app.doctor.findings import Finding, Verdict
from app.domain.errors import DatabaseUnavailable, StorageUnavailable
from app.domain.ports import ArtifactStore
from app.domain.suggestions import nearest
from app.settings import Settings

PATIENCE_SECONDS = 5.0
SKEW_SECONDS = 5.0
FREE_BYTES = 5 << 30
FOREIGN_VARIABLES = frozenset({"DAPPLE_URL", "DAPPLE_WORKER_NAME"})  # not part of Settings
NVIDIA_DRIVER = Path("/proc/driver/nvidia/version")
EXTRAS = {"psycopg": "postgres", "obstore": "s3", "celery": "celery", "opentelemetry.sdk": "otel", "torch": "worker"}
ADVICE = {
    "database": "start it, or correct DAPPLE_DATABASE_URL",
    "artifacts": "start the store, or correct DAPPLE_ARTIFACTS_URL, DAPPLE_S3_ENDPOINT and the AWS_* keys",
    "broker": "start it, or correct DAPPLE_BROKER_URL",
}

OpenStore = Callable[[Settings], ArtifactStore]


def environment(settings: Settings, environ: Mapping[str, str]) -> Iterator[Finding]:
    """Unknown variables, and settings that contradict each other."""
    known = {f"DAPPLE_{name.upper()}" for name in type(settings).model_fields}
    given = {name for name in environ if name.upper().startswith("DAPPLE_")}
    for name in sorted(given - FOREIGN_VARIABLES):
        if name.upper() not in known:
            advice = f"remove it; {nearest(name, known)}"
            yield Finding("settings", Verdict.WARN, f"{name} is not a setting, and has no effect", advice)
    if settings.broker_url and settings.sqlalchemy_url.startswith("sqlite"):
        yield Finding(
            "settings", Verdict.WARN, "a broker, but the database is SQLite: one machine only", "set DAPPLE_DATABASE_URL"
        )
    if settings.broker_url and settings.artifacts_url is None:
        message = f"a broker, but artifacts lie in {settings.artifacts_dir}: every machine must see the same folder"
        yield Finding("settings", Verdict.WARN, message, "set DAPPLE_ARTIFACTS_URL")
    yield Finding("settings", Verdict.OK, f"read; {len(given)} from the environment")


def packages(settings: Settings, environ: Mapping[str, str]) -> Iterator[Finding]:
    """Packages that the settings need."""
    needed = {
        "psycopg": settings.sqlalchemy_url.startswith("postgresql"),
        "obstore": settings.artifacts_url is not None,
        "celery": settings.broker_url is not None,
        "opentelemetry.sdk": tracing.asked_for(environ) is not None,
    }
    missing = [name for name, wanted in needed.items() if wanted and not _is_installed(name)]
    for name in missing:
        yield Finding("packages", Verdict.FAIL, f"{name} is not installed, which the settings need", install_command(name))
    if not missing:
        yield Finding("packages", Verdict.OK, "everything that the settings need is installed")


def _is_installed(name: str) -> bool:
    try:
        return find_spec(name) is not None
    except ModuleNotFoundError:
        return False


def install_command(name: str) -> str:
    """The command that installs a package, by the extra that contains it."""
    return install_extra(EXTRAS[name]) if name in EXTRAS else f"pip install {name}"


def data_folder(settings: Settings) -> Iterator[Finding]:
    """Whether the folder is writable and has free space."""
    folder = settings.data_dir
    existing = next(path for path in (folder, *folder.absolute().parents) if path.exists())
    if not (existing.is_dir() and os.access(existing, os.W_OK | os.X_OK)):
        yield Finding("data folder", Verdict.FAIL, f"{existing} cannot be written", "change its owner, or set DAPPLE_DATA_DIR")
        return
    free = shutil.disk_usage(existing).free
    wanted = min(FREE_BYTES, settings.cache_bytes)
    text = f"{folder}: {free / 2**30:.1f} GiB free"
    if free < wanted:
        yield Finding("data folder", Verdict.WARN, text, "make room: features of real images and the running task lie there")
    else:
        yield Finding("data folder", Verdict.OK, text)


def database(settings: Settings) -> Iterator[Finding]:
    """Whether the database answers; its tables, its clock and its workers."""
    url = make_url(settings.sqlalchemy_url)
    told = url.render_as_string(hide_password=True)
    if _is_absent(url):
        yield Finding("database", Verdict.WARN, f"{told}: not there yet", "`dapple up` makes it, or `dapple migrate`")
        return
    database = Database(settings.sqlalchemy_url)
    try:
        before = time.time()
        with database.reading() as session:
            schema = schema_of(session.connection())
            asked = time.time()
            theirs = seconds_now(session)
        skew = theirs - (asked + time.time()) / 2
        if not schema.usable:
            yield Finding("database", Verdict.FAIL, f"{told}: {schema.in_words}", schema.advice)
            return
        verdict, advice = (Verdict.OK, "") if schema.fit is Fit.CURRENT else (Verdict.WARN, "update Dapple here when you can")
        milliseconds = (time.time() - before) * 1000
        yield Finding("database", verdict, f"{told}: answered in {milliseconds:.0f} ms, {schema.in_words}", advice)
        yield _skew(skew)
        yield from _workers(database, settings)
    except DatabaseUnavailable as error:
        yield _no_database("database", url, f"{told}: ", error)
    finally:
        database.dispose()


def outputs(settings: Settings, open_store: OpenStore) -> Iterator[Finding]:
    """Whether every archive and preview has the published bytes; reads all of them."""
    if _is_absent(make_url(settings.sqlalchemy_url)):
        yield Finding("outputs", Verdict.OK, "none: there is no database yet")
        return
    database = Database(settings.sqlalchemy_url)
    try:
        yield from verify(database, open_store(settings))
    except DatabaseUnavailable as error:
        yield _no_database("outputs", make_url(settings.sqlalchemy_url), "the database does not name them: ", error)
    except StorageUnavailable as error:
        yield Finding("outputs", Verdict.FAIL, str(error), ADVICE["artifacts"])
    finally:
        database.dispose()


def _no_database(subject: str, url: URL, place: str, error: DatabaseUnavailable) -> Finding:
    """The finding for a database that does not answer. SQLite's error says what to do."""
    if url.get_backend_name() == "sqlite":
        return Finding(subject, Verdict.FAIL, f"{place}{error}")
    return Finding(subject, Verdict.FAIL, f"{place}{error.reason}", ADVICE["database"])


def _is_absent(url: URL) -> bool:
    """Whether the URL names a missing SQLite file, which opening would create."""
    return url.get_backend_name() == "sqlite" and not Path(url.database or "").exists()


def _skew(seconds: float) -> Finding:
    if abs(seconds) <= SKEW_SECONDS:
        return Finding("clock", Verdict.OK, f"within {abs(seconds):.1f} s of the database's")
    ahead = "ahead of" if seconds > 0 else "behind"
    message = f"the database's clock is {abs(seconds):.0f} s {ahead} this machine's"
    return Finding("clock", Verdict.WARN, message, "leases are not affected, but presigned URLs and logs are: run NTP on both")


def _workers(database: Database, settings: Settings) -> Iterator[Finding]:
    with database.reading() as session:
        taken = counts.take(session, settings.heartbeat_seconds)
    for queue, found in taken.queues.items():
        waiting = f"; {found.ready} tasks wait" if found.ready else ""
        if found.workers:
            yield Finding(f"queue {queue}", Verdict.OK, f"{found.workers} live workers{waiting}")
        else:
            advice = "start `dapple up`" if settings.broker_url is None else f"start `dapple work -Q {queue}`"
            yield Finding(f"queue {queue}", Verdict.WARN, f"no live worker consumes it{waiting}", advice)


def artifacts(settings: Settings, open_store: OpenStore) -> Iterator[Finding]:
    """Whether the store is writable, and clients can download from it."""
    where = settings.artifacts_url or str(settings.artifacts_dir)
    if settings.artifacts_url is None and not settings.data_dir.exists():
        yield Finding("artifacts", Verdict.OK, f"{where}: made when it is needed")
        return
    store = open_store(settings)
    store.check_writable()
    yield Finding("artifacts", Verdict.OK, f"{where} can be written")
    if settings.artifacts_url is not None:
        yield from _presigned(store, settings)


def _presigned(store: ArtifactStore, settings: Settings) -> Iterator[Finding]:
    """Whether a presigned URL works from here: clients may have another endpoint."""
    prefix = f"doctor/{uuid4().hex}/"
    with tempfile.NamedTemporaryFile() as probe:
        probe.write(b"dapple")
        probe.flush()
        store.put(prefix + "probe", Path(probe.name), "text/plain")
    try:
        url = store.url(prefix + "probe", 60.0)
        if url is None:
            return
        answer = httpx.get(url, timeout=PATIENCE_SECONDS / 2)
        if answer.status_code == 200 and answer.content == b"dapple":
            yield Finding("downloads", Verdict.OK, f"a presigned URL of {httpx.URL(url).host} works from here")
        else:
            advice = "look at DAPPLE_S3_PUBLIC_ENDPOINT, DAPPLE_S3_REGION and the store's clock"
            yield Finding(
                "downloads", Verdict.FAIL, f"a presigned URL of {httpx.URL(url).host} answers {answer.status_code}", advice
            )
    except httpx.HTTPError as error:
        endpoint = settings.s3_public_endpoint or settings.s3_endpoint
        message = f"a presigned URL of {endpoint} cannot be fetched from here: {error}"
        yield Finding("downloads", Verdict.WARN, message, "clients must reach it: look at DAPPLE_S3_PUBLIC_ENDPOINT")
    finally:
        store.delete_prefix(prefix)


def broker(settings: Settings) -> Iterator[Finding]:
    """Whether the broker can be used."""
    if settings.broker_url is None:
        yield Finding("broker", Verdict.OK, "none: workers look by themselves")
        return
    try:
        from app.wakeup.broker_probe import BrokerUnavailable, probe
    except ModuleNotFoundError as error:
        yield Finding("broker", Verdict.FAIL, f"needs {error.name}, which is not installed", install_extra("celery"))
        return
    try:
        name = probe(settings.broker_url)
    except BrokerUnavailable as error:
        yield Finding("broker", Verdict.FAIL, str(error), ADVICE["broker"])
    else:
        yield Finding("broker", Verdict.OK, f"{name} answers")


def dataset_roots(settings: Settings) -> Iterator[Finding]:
    """Whether the folders exist."""
    for root in settings.dataset_roots:
        if root.is_dir() and os.access(root, os.R_OK | os.X_OK):
            yield Finding("datasets", Verdict.OK, f"file:// datasets may lie below {root}")
        else:
            yield Finding(
                "datasets", Verdict.WARN, f"{root} is not a folder that can be read", "mount it, or set DAPPLE_DATASET_ROOTS"
            )


def backbones(settings: Settings) -> Iterator[Finding]:
    """The usable backbones, and the faults of the others."""
    usable, broken = survey(settings.backbone_roots)
    for name, reason in broken:
        yield Finding(
            "backbones", Verdict.WARN, f"{name} cannot be used: {reason}", "complete or convert its files, or remove it"
        )
    if usable:
        yield Finding("backbones", Verdict.OK, ", ".join(folder.name for folder in usable))
    else:
        yield Finding("backbones", Verdict.FAIL, "there is none", f"put one into {settings.data_dir / 'backbones'}")


def device(settings: Settings) -> Iterator[Finding]:
    """Whether torch finds the device.

    Imports torch only if there may be a GPU, in another process.
    """
    if find_spec("torch") is None:
        yield Finding("device", Verdict.OK, "torch is not installed: this installation serves the API and runs no tasks")
    elif settings.device == "cpu" or (settings.device == "auto" and not NVIDIA_DRIVER.exists()):
        yield Finding("device", Verdict.OK, f"{settings.device}: tasks would run on the CPU with {settings.threads} threads")
    else:
        yield from _gpu(settings.device)


def _gpu(device: str) -> Iterator[Finding]:
    name = "cuda" if device == "auto" else device
    program = f"import torch; print(torch.cuda.get_device_name({name!r}))"
    try:
        done = subprocess.run(  # noqa: S603 - our own interpreter and program
            [sys.executable, "-c", program], capture_output=True, text=True, timeout=PATIENCE_SECONDS * 0.9, check=False
        )
    except subprocess.TimeoutExpired:
        yield Finding("device", Verdict.WARN, f"{device}: torch did not say in time whether it is there", "try again")
        return
    if done.returncode == 0:
        yield Finding("device", Verdict.OK, f"{device}: {done.stdout.strip()}")
    else:
        reason = (done.stderr.strip().splitlines() or ["unknown"])[-1]
        verdict = Verdict.WARN if device == "auto" else Verdict.FAIL
        yield Finding(
            "device", verdict, f"{device}: {reason}", "install a driver and a CUDA build of torch, or set DAPPLE_DEVICE=cpu"
        )

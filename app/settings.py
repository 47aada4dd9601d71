"""Settings from DAPPLE_* environment variables, checked once at start and never changed."""

import json
import logging
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal, Self

import platformdirs
from pydantic import Field, IPvAnyNetwork, SecretStr, ValidationError, ValidationInfo, field_validator, model_validator
from pydantic_settings import BaseSettings, NoDecode, SettingsConfigDict

from app.domain.errors import WrongSettings
from app.domain.job import TaskKind

INSTALLED_AT = Path(__file__).parents[1]
EMBEDDED_BACKBONES = INSTALLED_AT / "worker" / "backbones" / "embedded"


TaskSeconds = Annotated[float, Field(gt=0, le=30 * 86400)]  # within the range of timers


class Settings(BaseSettings):
    """Everything that differs between two installations.

    In the environment, `dataset_roots` is a list of folders separated by `:`, or a JSON list if a
    name has a `:`.
    """

    # Errors leave out the given value, because it may be a URL with a password.
    model_config = SettingsConfigDict(
        env_prefix="DAPPLE_", frozen=True, extra="forbid", hide_input_in_errors=True, allow_inf_nan=False
    )

    data_dir: Path = Field(default_factory=lambda: platformdirs.user_data_path("dapple"))
    database_url: str | None = Field(default=None, description="SQLAlchemy URL; default: SQLite in data_dir.")
    broker_url: str | None = Field(
        default=None,
        description="redis:// or amqp:// URL that wakes Celery workers; default: workers poll for tasks.",
    )
    artifacts_url: str | None = Field(
        default=None, pattern=r"^s3://[^/]+(/.*)?$", description="s3://BUCKET/PREFIX; default: a folder in data_dir."
    )
    s3_endpoint: str | None = Field(default=None, description="URL of a server compatible with S3; default: Amazon's.")
    s3_public_endpoint: str | None = Field(
        default=None, description="The same server's URL as clients reach it, for presigned downloads; default: s3_endpoint."
    )
    s3_region: str = Field(default="us-east-1")
    s3_checksums: Literal["when_supported", "when_required"] = Field(
        default="when_supported", description="when_required: for servers that refuse checksums in headers."
    )
    presigned_seconds: float = Field(default=3600.0, gt=0, le=7 * 86400, description="How long a presigned download is valid.")
    dataset_roots: Annotated[tuple[Path, ...], NoDecode] = Field(
        default_factory=lambda: (Path.cwd(),), description="file:// datasets must lie under one of these."
    )
    dataset_buckets: Annotated[tuple[str, ...], NoDecode] = Field(
        default=(),
        description="S3 buckets that datasets may come from, separated by commas in the environment; `*` allows any.",
    )
    dataset_s3_endpoint: str | None = Field(
        default=None, description="URL of the server with these buckets; default: s3_endpoint, else Amazon's."
    )
    dataset_networks: Annotated[tuple[IPvAnyNetwork, ...], NoDecode] = Field(
        default=(),
        description="Networks that https:// datasets may come from besides public addresses, as in `10.1.0.0/16`; separated by "
        "commas in the environment.",
    )
    download_bytes: int = Field(default=512 << 30, gt=0, description="Maximum size of a dataset that is downloaded.")
    download_seconds: float = Field(default=86400.0, gt=0, description="Maximum time of a download.")
    allowed_hosts: Annotated[tuple[str, ...], NoDecode] = Field(
        default=(),
        description="Host names that requests may address, besides loopback and the listening address; `*` allows any. "
        "Separated by commas in the environment.",
    )
    access_token: SecretStr | None = Field(
        default=None,
        min_length=16,
        description="The bearer token that requests must carry; `dapple up` makes one at each start. Default: none.",
    )
    max_body_bytes: int = Field(default=1 << 20, gt=0)
    max_image_pixels: int = Field(
        default=1 << 24,
        gt=0,
        le=1 << 28,
        description="An image file with more pixels counts as damaged. Decoding takes a process up to 32 bytes per pixel.",
    )
    lease_seconds: float = Field(default=30.0, gt=0)
    heartbeat_seconds: float = Field(default=10.0, gt=0)
    stall_seconds: Annotated[Mapping[TaskKind, TaskSeconds], NoDecode] = Field(
        default=dict.fromkeys(TaskKind, 3600.0),
        description="How long a task may show no progress before it counts as stuck: the task fails, and its worker ends. "
        "Seconds for every kind of task, or by kind as in `sample=900,package=7200`; other kinds keep their default.",
    )
    task_seconds: Annotated[Mapping[TaskKind, TaskSeconds], NoDecode] = Field(
        default=dict.fromkeys(TaskKind, 7 * 86400.0),
        description="How long one attempt at a task may take, whatever its progress; same syntax as `stall_seconds`.",
    )
    cancel_seconds: float = Field(
        default=60.0, gt=0, description="How long a task may go on after its job was cancelled; then the job ends without it."
    )
    progress_seconds: float = Field(default=0.5, gt=0, description="Minimum time between two progress writes of a task.")
    poll_seconds: float = Field(default=0.25, gt=0, description="How often an idle worker looks for work.")
    patience_seconds: float = Field(
        default=30.0, ge=0, description="How long a task may wait for a worker that already holds its backbone and data."
    )
    orphan_sweep_seconds: float = Field(default=3600.0, gt=0, description="How often objects that no row names are removed.")
    orphan_grace_seconds: float = Field(
        default=3600.0, ge=0, description="How long after a job's end a suspended worker may still store objects."
    )
    retry_backoff_seconds: float = Field(default=2.0, ge=0, description="Delay of a retry; doubled at each further attempt.")
    outage_backoff_seconds: float = Field(
        default=30.0,
        ge=0,
        description="Delay of a retry if the artifact store did not answer; also how long an answer of it is trusted.",
    )
    cache_bytes: int = Field(default=20 << 30, gt=0, description="Disk for data jobs share, such as features of real images.")
    threads: int = Field(default=2, ge=1, description="CPU threads for computation. Reproducible bytes need the same value.")
    batch_size: int = Field(
        default=256,
        ge=1,
        description="Maximum images in a pass, each perhaps with and without its condition; halved if memory is too small. "
        "Reproducible bytes need the same value.",
    )
    device: str = Field(default="auto", pattern=r"^(auto|cpu|cuda(:\d+)?)$", description="auto, cpu, cuda or cuda:1.")
    dtype: Literal["auto", "float32", "bfloat16", "float16"] = Field(
        default="auto",
        description="The dtype of backbones; auto: bfloat16 on GPUs that support it, float32 elsewhere. Encoding and decoding "
        "of images and scheduler steps always use float32. Reproducible bytes need the same value.",
    )
    compile: bool = Field(
        default=False,
        description="Compile backbones' blocks with torch.compile: minutes at a backbone's first use, then faster steps. "
        "Needs a C++ compiler. Reproducible bytes need the same value.",
    )
    backbone_memory_bytes: int | None = Field(
        default=None,
        gt=0,
        description="How much of the device's memory the backbones kept for later jobs may take; default: half of it.",
    )
    metrics_port: int | None = Field(
        default=None, ge=1, le=65535, description="The port where a worker serves metrics to Prometheus; default: none."
    )
    metrics_host: str = Field(default="127.0.0.1", description="The address for metrics_port.")
    log_level: str = "INFO"

    @field_validator("dataset_roots", mode="before")
    @classmethod
    def _split_roots(cls, value: object) -> object:
        if not isinstance(value, str):
            return value
        return json.loads(value) if value.startswith("[") else [part for part in value.split(":") if part]

    @field_validator("stall_seconds", "task_seconds", mode="before")
    @classmethod
    def _split_kinds(cls, value: object, info: ValidationInfo) -> object:
        if not isinstance(value, str):
            return value
        if "=" not in value:
            return dict.fromkeys(TaskKind, value)
        default: Mapping[str, float] = cls.model_fields[info.field_name or ""].default
        pairs = [part.partition("=") for part in value.split(",") if part.strip()]
        return {**default, **{kind.strip(): seconds.strip() for kind, _, seconds in pairs}}

    @field_validator("log_level")
    @classmethod
    def _known_level(cls, value: str) -> str:
        if value.upper() not in logging.getLevelNamesMapping():
            raise ValueError("must be DEBUG, INFO, WARNING, ERROR or CRITICAL")
        return value

    @model_validator(mode="after")
    def _beats_within_a_lease(self) -> Self:
        if self.heartbeat_seconds >= self.lease_seconds:
            raise ValueError("heartbeat_seconds must be below lease_seconds")
        return self

    @field_validator("allowed_hosts", "dataset_buckets", "dataset_networks", mode="before")
    @classmethod
    def _split_names(cls, value: object) -> object:
        return [part.strip().lower() for part in value.split(",") if part.strip()] if isinstance(value, str) else value

    @property
    def sqlalchemy_url(self) -> str:
        return self.database_url or f"sqlite:///{self.data_dir / 'dapple.sqlite3'}"

    @property
    def artifacts_dir(self) -> Path:
        return self.data_dir / "artifacts"

    @property
    def scratch_dir(self) -> Path:
        """The folder where running tasks keep files that nobody else reads."""
        return self.data_dir / "scratch"

    @property
    def cache_dir(self) -> Path:
        """The folder of shared data that jobs can rebuild; safe to delete while no service runs."""
        return self.data_dir / "cache"

    @property
    def backbone_roots(self) -> tuple[tuple[str, Path], ...]:
        """The places of backbones, each as a name prefix and a folder.

        Each sub-folder with a model_index.json is one backbone.
        """
        return (("embedded/", EMBEDDED_BACKBONES), ("", self.data_dir / "backbones"))

    def as_environment(self) -> dict[str, str]:
        """The environment from which another process builds the same settings."""
        limits = {"stall_seconds": self.stall_seconds, "task_seconds": self.task_seconds}
        names = ("allowed_hosts", "dataset_buckets", "dataset_networks")
        plain = self.model_dump(exclude={"dataset_roots", "access_token", *names, *limits}, exclude_none=True)
        secret = {} if self.access_token is None else {"DAPPLE_ACCESS_TOKEN": self.access_token.get_secret_value()}
        lists = {"DAPPLE_DATASET_ROOTS": json.dumps([str(root) for root in self.dataset_roots])}
        lists |= {f"DAPPLE_{name.upper()}": ",".join(map(str, getattr(self, name))) for name in names}
        lists |= {f"DAPPLE_{name.upper()}": _joined(limit) for name, limit in limits.items()}
        return {f"DAPPLE_{name.upper()}": str(value) for name, value in plain.items()} | lists | secret


def _joined(seconds: Mapping[TaskKind, float]) -> str:
    return ",".join(f"{kind.value}={limit}" for kind, limit in seconds.items())


def settings_from(**given: Any) -> Settings:
    """The settings from the given values, and from the environment for the rest.

    Raises WrongSettings.
    """
    try:
        return Settings(**given)
    except ValidationError as error:
        faults = error.errors(include_input=False)
        raise WrongSettings([(_variable(fault["loc"]), fault["msg"]) for fault in faults]) from error


def _variable(place: tuple[int | str, ...]) -> str:
    return f"DAPPLE_{str(place[0]).upper()}" if place else "DAPPLE_*"

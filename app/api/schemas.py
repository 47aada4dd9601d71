"""The models that routes answer with; they live in the domain because the client returns the same ones."""

from app.domain.views import (
    ArchiveView,
    AttemptView,
    BackbonePage,
    BackboneView,
    FailureView,
    FieldError,
    JobDetail,
    JobPage,
    JobView,
    Links,
    PhaseProgress,
    Problem,
    ProgressView,
    TaskView,
    ValidationView,
    View,
)

__all__ = [
    "ArchiveView",
    "AttemptView",
    "BackbonePage",
    "BackboneView",
    "FailureView",
    "FieldError",
    "JobDetail",
    "JobPage",
    "JobView",
    "Links",
    "PhaseProgress",
    "Problem",
    "ProgressView",
    "TaskView",
    "ValidationView",
    "View",
]

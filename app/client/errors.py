"""What can go wrong between a client and its service."""

from typing import Self

import httpx
from pydantic import ValidationError

from app.domain.errors import DappleError
from app.schemas import Problem


class ServiceUnreachable(DappleError):
    """No service answered at the URL."""

    def __init__(self, url: str, reason: object) -> None:
        self.url = url
        super().__init__(f"no service at {url} ({reason}); start one with `dapple up`")


class OtherVersion(DappleError):
    """What the service answered is not what this version of the client reads."""

    def __init__(self, url: str, reason: object) -> None:
        super().__init__(f"the service at {url} speaks another version of this API: {reason}")


class DownloadCorrupt(DappleError):
    """The downloaded bytes are not the job's archive; the target is unchanged."""


class TargetUnwritable(DappleError):
    """The archive cannot be kept where it was asked for; the text names the place."""


class ApiError(DappleError):
    """The service refused the request. `problem` is the reason; the message names the fields."""

    def __init__(self, problem: Problem) -> None:
        self.problem = problem
        faults = [f"\n  {error.field}: {error.message}" for error in problem.errors]
        reason = "".join(faults) or f" {problem.detail}" if faults or problem.detail else ""
        super().__init__(f"{problem.title}:{reason}" if reason else problem.title)

    @classmethod
    def of(cls, response: httpx.Response) -> Self:
        """The error of a response that was read; a body that is no problem document is quoted."""
        try:
            return cls(Problem.model_validate_json(response.content))
        except ValidationError:
            title = f"{response.status_code} {response.reason_phrase}"
            return cls(Problem(type="about:blank", title=title, status=response.status_code, detail=response.text[:200]))


def checked(response: httpx.Response) -> httpx.Response:
    """The response. Raises ApiError if it is a refusal."""
    if response.is_error:
        response.read()
        response.close()
        raise ApiError.of(response)
    return response

"""What a failed request to S3 means to the operator of the service."""

import re

CODE = re.compile(r"<Code>(\w+)</Code>")
STATUS = re.compile(r"status code: (\d{3})")
CREDENTIALS = ("169.254.169.254", "169.254.170.", "sts.")  # the hosts that the library asks if it was given no keys

KEYS = "the server refuses the keys; check AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY"
DENIED = "the keys may not do this; the bucket's policy must allow to get, put, list and delete objects, and to abort uploads"
BUCKET = "there is no bucket {bucket} at {endpoint}; create it, or change DAPPLE_ARTIFACTS_URL"
REGION = "the bucket {bucket} is in another region; check DAPPLE_S3_REGION"
CHECKSUM = "the bytes were damaged on their way to {endpoint}"
NO_CREDENTIALS = "there are no keys; set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or give this machine a role"

MEANINGS = {
    "NoSuchBucket": BUCKET,
    "InvalidBucketName": BUCKET,
    "InvalidAccessKeyId": KEYS,
    "SignatureDoesNotMatch": KEYS,
    "InvalidToken": KEYS,
    "ExpiredToken": KEYS,
    "AccessDenied": DENIED,
    "AllAccessDisabled": DENIED,
    "PermanentRedirect": REGION,
    "AuthorizationHeaderMalformed": REGION,
    "IllegalLocationConstraintException": REGION,
    "RequestTimeTooSkewed": "the clocks of this machine and of {endpoint} differ by more than 15 minutes",
    "XAmzContentSHA256Mismatch": CHECKSUM,
    "BadDigest": CHECKSUM,
    "QuotaExceeded": "the quota of the bucket {bucket} is used up",
    "NotImplemented": "{endpoint} does not support the request; DAPPLE_S3_CHECKSUMS=when_required makes simpler ones",
}


class Fault:
    """An error of the library, or of the file that was being sent. Its text is one sentence."""

    def __init__(self, error: Exception, bucket: str, endpoint: str) -> None:
        self._error = error
        self._text = str(error)
        code, status = CODE.search(self._text), STATUS.search(self._text)
        self._code = code.group(1) if code else None
        self._status = status.group(1) if status else None
        self._where = {"bucket": bucket, "endpoint": endpoint}

    @property
    def no_such_key(self) -> bool:
        return self._of_library and self._status == "404" and self._code in (None, "NoSuchKey")

    @property
    def _of_library(self) -> bool:
        """Whether the library raised the error; its FileNotFoundError has no errno."""
        return not (isinstance(self._error, OSError) and self._error.errno is not None)

    def __str__(self) -> str:
        if isinstance(self._error, OSError) and self._error.strerror:
            return self._error.strerror
        return self._meaning().format(**self._where)

    def _meaning(self) -> str:
        if any(host in self._text for host in CREDENTIALS):
            return NO_CREDENTIALS
        if self._code in MEANINGS:
            return MEANINGS[self._code]
        if "kind: Timeout" in self._text:
            return "{endpoint} did not answer in time"
        if "kind: Connect" in self._text:
            return "there is no connection to {endpoint}; check DAPPLE_S3_ENDPOINT, and that the server runs"
        if self._status is not None:
            return f"{{endpoint}} answered {self._status} {self._code or ''}".rstrip()
        return self._text.partition("\n")[0].replace("{", "{{").replace("}", "}}")

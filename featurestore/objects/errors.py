"""Errors of stores and disks: which are transient, and the final error with its mend.

Belongs here: classifying what obstore, tensorstore, fsspec and the operating system raise. Does not: how long to retry
(`catalog.runtime.retry`), the requests (`featurestore.objects.objects`).
"""

import errno
import os
import re

from catalog.runtime.retry import RETRY_VARIABLE, Backoff, is_mistake, is_transient_status, retry_s

KEYS_MEND = (
    "set AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY and, if there is one, AWS_SESSION_TOKEN, or AWS_PROFILE, or `key`, "
    "`secret` and `token` of the storage options; for a public bucket AWS_SKIP_SIGNATURE=true or `anon`"
)

_NO_ROOM = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}
_NOT_ALLOWED = {errno.EACCES, errno.EPERM, errno.EROFS}
_TOKEN_CODES = {"ExpiredToken", "InvalidToken", "TokenRefreshRequired", "ExpiredTokenException"}
_TRANSIENT_CODES = {"SlowDown", "InternalError", "RequestTimeout", "ConditionalRequestConflict", "OperationAborted"}

_STATUS = re.compile(r"(?:status code: |http_response_code=')(\d{3})")
_CODE = re.compile(r"<Code>(\w+)</Code>")
_OS_ERROR = re.compile(r"\(os error (\d+)\)")
_DETAIL = re.compile(r'(?:message|error): "([^"]+)"')
_KIND = re.compile(r"HttpError \{\s*kind: (\w+)")
_CURL = re.compile(r"CURL error (.*?) *\[")
_KINDS = {
    "Timeout": "no answer in time",
    "Interrupted": "the answer broke off",
    "Request": "the connection broke",
    "Connect": "no connection",
}
_STAYS = "what was committed stays: run the same command again"


class StoreUnavailable(OSError):
    """The store refused a request, or retries of a transient error did not help."""


class LinkInStore(PermissionError):
    """A link inside a store: what lies behind it may be anything, anywhere."""


def link_error(path: str) -> LinkInStore:
    """Make the error for a link inside a store."""
    return LinkInStore(
        f"{path} is a link, and a store follows none, since it would read and write outside; put the file or folder "
        "itself there (`cp -RL` copies what links point to)"
    )


def wait_s(error: BaseException, tried: str, backoff: Backoff) -> float:
    """Return the wait before a failed operation is retried (s), or raise the final error.

    Parameters
    ----------
    tried
        Description of the operation, for the final error: `create s3://bucket/store/zarr.json`.

    Raises
    ------
    FileNotFoundError, PermissionError, StoreUnavailable, OSError
        `error`, explained, if it is not transient or the time budget is spent.
    """
    if _is_panic(error):
        raise explained(error, tried) from error
    if not isinstance(error, Exception) or is_mistake(error) or isinstance(error, LinkInStore):
        raise error
    wait = backoff.wait_s() if is_transient(error) else None
    if wait is None:
        raise explained(error, tried, elapsed_s=backoff.elapsed_s) from error
    return wait


def _is_panic(error: BaseException) -> bool:
    """Tell whether a library in Rust broke down: that is no `Exception`, which only few programs would catch."""
    return type(error).__name__ == "PanicException"


def is_transient(error: BaseException) -> bool:
    """Tell whether the same request may succeed later."""
    if _is_panic(error):
        return False
    text = str(error)
    status, code = _status(text), _code(text)
    if code in _TRANSIENT_CODES:
        return True
    if status is not None:
        return is_transient_status(status)
    if isinstance(error, (OSError, NotImplementedError)):
        return isinstance(error, (ConnectionError, TimeoutError))
    if type(error).__module__.startswith("obstore") or isinstance(error, ValueError):  # the latter from tensorstore
        return _KIND.search(text) is not None or _CURL.search(text) is not None
    return True  # a connection error of another library (aiohttp, paramiko), without further detail


def is_outage(error: Exception) -> bool:
    """Tell whether a read through tensorstore failed without an answer: it raises ValueError for damage, too."""
    return _status(str(error)) is not None or _CURL.search(str(error)) is not None


def explained(error: BaseException, tried: str, *, elapsed_s: float | None = None) -> OSError:
    """Make the error that names the operation, the answer, and the mend.

    Parameters
    ----------
    elapsed_s
        Time spent retrying, if known (s).
    """
    text = str(error)
    status, code, number = _status(text), _code(text), _errno(error)
    what = f"could not {tried}: {_reply(error)}"
    if code == "NoSuchBucket":
        return StoreUnavailable(f"{what}; there is no such bucket: make it, or mend the URL")
    if isinstance(error, FileNotFoundError):
        return FileNotFoundError(f"{what}; no such object")
    if number in _NO_ROOM or status == 507 or code == "QuotaExceeded":
        return OSError(number or errno.ENOSPC, f"{what}; make room there, or raise the quota; {_STAYS}")
    if code == "RequestTimeTooSkewed":
        return PermissionError(f"{what}; this machine's clock is wrong: set it; {_STAYS}")
    if number in _NOT_ALLOWED:
        return PermissionError(number, f"{what}; give this user the right to write and read there; {_STAYS}")
    if _is_refused(error, status, code):
        return PermissionError(f"{what}; credentials are wrong, expired or without that right: {KEYS_MEND}; {_STAYS}")
    if is_transient(error):
        during = "" if elapsed_s is None else f", tried for {elapsed_s:.1f} s"
        return StoreUnavailable(
            f"{what}{during}; {_STAYS} when the store answers, "
            f"or with a larger {RETRY_VARIABLE} (seconds to try, now {retry_s():g})"
        )
    if number is not None:
        return OSError(number, f"{what}; {_STAYS} when that is mended")
    return StoreUnavailable(f"{what}; check the URL, its endpoint and region, and whether the server can do this")


def _is_refused(error: BaseException, status: int | None, code: str | None) -> bool:
    # The metadata service of cloud machines: requested only if there are no other credentials.
    lacks_credentials = "169.254.169.254" in str(error)
    return status in (401, 403) or code in _TOKEN_CODES or lacks_credentials or isinstance(error, PermissionError)


def _reply(error: BaseException) -> str:
    """Summarise the answer of the store, the network or the disk."""
    text = str(error)
    status, code, number = _status(text), _code(text), _errno(error)
    if status is not None or code is not None:
        return " ".join(str(part) for part in (status, code) if part is not None)
    if number is not None:
        return os.strerror(number)
    if (curl := _CURL.search(text)) is not None:
        return curl[1]
    kind, detail = _KIND.search(text), _DETAIL.search(text)
    parts = [_KINDS.get(kind[1], kind[1]) if kind else "", detail[1] if detail else ""]
    return (
        ", ".join(part for part in parts if part)
        or f"{type(error).__name__} {text.partition('Debug source')[0]}".strip()
    )


def _status(text: str) -> int | None:
    found = _STATUS.search(text)
    return int(found[1]) if found else None


def _code(text: str) -> str | None:
    found = _CODE.search(text)
    return found[1] if found else None


def _errno(error: BaseException) -> int | None:
    if isinstance(error, OSError) and error.errno is not None:
        return error.errno
    found = _OS_ERROR.search(str(error))
    return int(found[1]) if found else None

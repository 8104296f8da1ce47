"""S3 credentials, endpoint and region: resolved once, for all libraries alike.

Belongs here: from storage options, environment and profiles to keys, endpoint and region. Does not: requests
(`featurestore.objects.objects`).

What the storage options leave out is resolved as by Amazon's own tools. Credentials: `AWS_ACCESS_KEY_ID`,
`AWS_SECRET_ACCESS_KEY` and `AWS_SESSION_TOKEN`; the profile `AWS_PROFILE` of `~/.aws/credentials` and `~/.aws/config`
(or of the files that `AWS_SHARED_CREDENTIALS_FILE` and `AWS_CONFIG_FILE` name), single sign-on and assumed roles
included; the role of the container or of the machine. Endpoint: `AWS_ENDPOINT_URL_S3`, `AWS_ENDPOINT_URL` or the
profile's. Region: `AWS_REGION`, `AWS_DEFAULT_REGION` or the profile's. `AWS_SKIP_SIGNATURE=true` sends
unsigned requests.
"""

import os
import re
from collections.abc import Callable, Mapping
from datetime import UTC, datetime, timedelta
from functools import cache
from typing import Any, NamedTuple, TypeVar
from urllib.parse import urlsplit

from featurestore.objects.errors import KEYS_MEND

T = TypeVar("T")


_OPTIONS = ("key", "secret", "token", "profile", "anon", "endpoint_url", "region", "client_kwargs")
_CLIENT_OPTIONS = {"endpoint_url": "endpoint_url", "region_name": "region"}
_ASK_AGAIN_AFTER = timedelta(minutes=15)


class Keys(NamedTuple):
    """Credentials that sign requests."""

    access_key: str
    secret_key: str
    token: str
    """Empty where there is none."""


class S3Access:
    """Credentials, endpoint and region of a bucket.

    Parameters
    ----------
    place
        Its URL, for errors.
    options
        `key`, `secret`, `token`, `profile`, `anon`, `endpoint_url`, `region`, and `endpoint_url` and `region_name` in
        `client_kwargs`, as s3fs names them; a `profile` among them precedes keys in the environment.

    Raises
    ------
    ValueError
        If an option is unknown, one of two keys is given, or endpoint or region have another form.
    PermissionError
        If there are no credentials, they are damaged, or the named ones cannot be obtained.
    """

    def __init__(self, place: str, options: Mapping[str, Any]) -> None:
        settings = _flattened(options)
        self._place = place
        self.is_anonymous = bool(settings.get("anon", os.environ.get("AWS_SKIP_SIGNATURE", "").lower() == "true"))
        session = self._asked(lambda: _session(settings))
        self.endpoint = _checked_endpoint(settings.get("endpoint_url") or self._asked(lambda: _endpoint(session)))
        """URL of a server other than Amazon's."""
        self.region = _checked_region(
            settings.get("region") or os.environ.get("AWS_REGION") or session.get_config_variable("region")
        )
        self._credentials: Any = None if self.is_anonymous else self._asked(session.get_credentials)
        if self._credentials is None and not self.is_anonymous:
            raise PermissionError(f"there are no credentials for {place}: {KEYS_MEND}")
        if not self.is_anonymous:
            self.keys()  # refuses damaged ones, before a request is made with them

    def keys(self) -> Keys:
        """Return the current keys: those of a role or of single sign-on are refreshed before they expire."""
        frozen = self._asked(self._credentials.get_frozen_credentials)
        keys = Keys(*((key or "").strip() for key in (frozen.access_key, frozen.secret_key, frozen.token)))
        if not keys.access_key or not keys.secret_key:
            raise PermissionError(f"there are no credentials for {self._place}: {KEYS_MEND}")
        for what, key in keys._asdict().items():
            # The secret signs only, and a server may have given one with blanks; the others travel in headers.
            if not (key.isascii() and key.isprintable()) or (what != "secret_key" and " " in key):
                raise PermissionError(
                    f"the {what.replace('_', ' ')} for {self._place} ({len(key)} characters) holds a line break, a "
                    f"blank or a letter that no key has; copy it again: {KEYS_MEND}"
                )
        return keys

    def for_obstore(self) -> dict[str, Any]:
        """Return the settings of obstore's client."""
        # Always a region, and an endpoint where a variable names one: obstore would take blank ones as they are.
        config: dict[str, Any] = {"region": self.region or "us-east-1"}
        if self.endpoint:
            # Servers other than Amazon's (Ceph, MinIO) are addressed by path.
            config |= {"endpoint": self.endpoint, "virtual_hosted_style_request": False}
        elif any(name.startswith("AWS_ENDPOINT") for name in os.environ):
            config["endpoint"] = f"https://s3.{config['region']}.amazonaws.com"
        if self.is_anonymous:
            return {"config": config | {"skip_signature": True}}
        # Not as plain settings: obstore would add to them the environment's session token for other keys.
        return {"config": config, "credential_provider": self._provided}

    def for_tensorstore(self) -> dict[str, Any] | None:
        """Return the settings of tensorstore's driver; None if it cannot use these keys.

        Tensorstore reads keys from files only: this one is in memory, private to the process.
        """
        spec: dict[str, Any] = {"endpoint": self.endpoint} if self.endpoint else {}
        if self.endpoint or self.region:
            spec["aws_region"] = self.region or "us-east-1"
        if self.is_anonymous:
            return spec | {"aws_credentials": {"type": "anonymous"}}
        keys = self.keys()
        if not hasattr(os, "memfd_create") or any(set(key) & set(" #;") for key in keys):
            return None
        path = _credentials_file(keys)
        # Both files are named explicitly: tensorstore's search for credentials would write to stderr.
        files = {"credentials_file": path, "config_file": path}
        return spec | {"aws_credentials": {"type": "profile", "profile": "default"} | files}

    def _provided(self) -> dict[str, Any]:
        from botocore.credentials import RefreshableCredentials  # type: ignore[import-untyped]  # botocore has no types

        keys = self.keys()
        is_renewed = isinstance(self._credentials, RefreshableCredentials)
        return {
            "access_key_id": keys.access_key,
            "secret_access_key": keys.secret_key,
            "token": keys.token or None,
            "expires_at": datetime.now(UTC) + _ASK_AGAIN_AFTER if is_renewed else None,
        }

    def _asked(self, question: Callable[[], T]) -> T:
        from botocore.exceptions import BotoCoreError  # type: ignore[import-untyped]  # botocore has no types

        try:
            return question()
        except BotoCoreError as error:
            raise PermissionError(f"the credentials for {self._place} cannot be had ({error}): {KEYS_MEND}") from error


def _flattened(options: Mapping[str, Any]) -> dict[str, Any]:
    """Check the options and flatten `client_kwargs`, without those that are None."""
    settings = {name: value for name, value in options.items() if value is not None}
    client = settings.pop("client_kwargs", {})
    unknown = sorted(settings.keys() - set(_OPTIONS)) + sorted(client.keys() - _CLIENT_OPTIONS.keys())
    if unknown:
        raise ValueError(
            f"unknown storage options {unknown}; s3:// takes {', '.join(_OPTIONS)}, the last with "
            f"{' and '.join(_CLIENT_OPTIONS)}"
        )
    if ("key" in settings) != ("secret" in settings):
        raise ValueError("of the storage options `key` and `secret` there is only one; give both, or neither")
    return {_CLIENT_OPTIONS[name]: value for name, value in client.items()} | settings


def _checked_endpoint(text: str | None) -> str | None:
    endpoint = (text or "").strip().rstrip("/")
    if not endpoint:
        return None
    try:
        parts = urlsplit(endpoint)
        is_url = parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0
    except ValueError:
        is_url = False
    if not is_url or not endpoint.isprintable() or " " in endpoint:
        raise ValueError(
            f"the endpoint {endpoint!r} is no URL of a server; write it as in https://s3.example.org:9000, in "
            "AWS_ENDPOINT_URL or as `endpoint_url` of the storage options, or unset it for Amazon's"
        )
    return endpoint


def _checked_region(text: str | None) -> str | None:
    region = (text or "").strip()
    if region and not re.fullmatch(r"[A-Za-z0-9._-]+", region):
        raise ValueError(
            f"the region {region!r} is no name of one; write it as in eu-central-1, in AWS_REGION or as `region` of "
            "the storage options, or unset it"
        )
    return region or None


def _session(settings: dict[str, Any]) -> Any:
    import botocore.session  # type: ignore[import-untyped]  # botocore has no types

    session = botocore.session.Session(profile=settings.get("profile"))
    if "key" in settings:
        session.set_credentials(settings["key"], settings["secret"], settings.get("token"))
    return session


def _endpoint(session: Any) -> Any:
    """Resolve the endpoint without a client, for which botocore would load its description of S3 (0.2 s)."""
    from botocore.configprovider import ConfiguredEndpointProvider  # type: ignore[import-untyped]  # botocore has no types

    profile = session.get_scoped_config()
    return ConfiguredEndpointProvider(session.full_config, profile, "s3", environ=os.environ).provide()


@cache
def _credentials_file(keys: Keys) -> str:
    """Make an in-memory file of these keys that only this user can open."""
    names = ("aws_access_key_id", "aws_secret_access_key", "aws_session_token")
    lines = [f"{name} = {key}" for name, key in zip(names, keys, strict=True) if key]
    file = os.memfd_create("credentials")
    os.write(file, "\n".join(["[default]", *lines, ""]).encode())
    return f"/proc/self/fd/{file}"

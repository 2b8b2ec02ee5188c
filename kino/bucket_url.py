"""What names a bucket of an S3 server: `s3://<bucket>[/<prefix>][?<setting>=<value>&...]`.

Settings, all of them optional:

    endpoint          http:// or https:// address of the server ($AWS_ENDPOINT_URL_S3, $AWS_ENDPOINT_URL, else AWS)
    public_endpoint   address of the same server that is told to clients outside, in links (endpoint)
    region            as the server knows it ($AWS_REGION, else us-east-1)
    retries           how often a request is repeated that found no server or an ailing one (8: over half a minute)
    timeout_seconds   how long to wait for each answer (20)

Keys come from $AWS_ACCESS_KEY_ID and $AWS_SECRET_ACCESS_KEY (and $AWS_SESSION_TOKEN), else from the AWS credentials
file, never from the URL, which is logged.
"""

import os
from dataclasses import dataclass
from urllib.parse import parse_qsl, urlsplit

_SETTINGS = ("endpoint", "public_endpoint", "region", "retries", "timeout_seconds")


@dataclass(frozen=True)
class BucketUrl:
    """The parts of an `s3://` URL; `prefix` is empty or ends with a slash."""

    bucket: str
    prefix: str
    endpoint: str
    public_endpoint: str
    region: str
    retries: int
    timeout_seconds: float

    @classmethod
    def parse(cls, url: str) -> "BucketUrl":
        """Return the parts of a URL, with what the environment adds.

        Raises:
            ValueError: it is malformed, names an unknown setting, or holds keys.
        """
        parts = urlsplit(url)
        if parts.scheme != "s3" or not parts.netloc:
            raise ValueError(f"store is {url[:120]!r}, must be of the form s3://bucket/prefix")
        if "@" in parts.netloc:
            raise ValueError("store holds keys in its URL, must take them from AWS_ACCESS_KEY_ID and the like")
        given = dict(parse_qsl(parts.query, keep_blank_values=True, strict_parsing=bool(parts.query)))
        if odd := given.keys() - set(_SETTINGS):
            raise ValueError(f"store has the setting {sorted(odd)[0]!r}, must be one of {', '.join(_SETTINGS)}")
        known, path = os.environ, parts.path.strip("/")
        endpoint = given.get("endpoint") or known.get("AWS_ENDPOINT_URL_S3") or known.get("AWS_ENDPOINT_URL")
        endpoint = _address("endpoint", endpoint or "https://s3.amazonaws.com")
        return cls(
            bucket=parts.netloc,
            prefix=f"{path}/" if path else "",
            endpoint=endpoint,
            public_endpoint=_address("public_endpoint", given.get("public_endpoint") or endpoint),
            region=given.get("region") or known.get("AWS_REGION") or known.get("AWS_DEFAULT_REGION") or "us-east-1",
            retries=_whole("retries", given.get("retries", "8"), 20),
            timeout_seconds=_whole("timeout_seconds", given.get("timeout_seconds", "20"), 600),
        )


def _address(field: str, value: str) -> str:
    parts = urlsplit(value)
    if parts.scheme not in ("http", "https") or not parts.netloc or parts.path.strip("/") or "@" in parts.netloc:
        raise ValueError(f"{field} is {value[:120]!r}, must be of the form https://host:port")
    return f"{parts.scheme}://{parts.netloc}"


def _whole(field: str, value: str, most: int) -> int:
    if not (value.isascii() and value.isdigit() and 1 <= int(value) <= most):
        raise ValueError(f"{field} is {value[:40]!r}, must be a whole number from 1 to {most}")
    return int(value)

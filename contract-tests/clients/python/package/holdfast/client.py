"""Connects to Holdfast with what its contracts promise as defaults.

A call without a timeout gets the one of its contract; one that is safe to repeat is repeated while the service is
unavailable; and one that changes something is named by a request_id, so that a repeat never does it twice.
"""

import pathlib
import urllib.parse
import uuid
from collections.abc import Callable, Iterable
from typing import Any, NamedTuple, TypeVar

import grpc
from google.protobuf import descriptor_pool
from google.protobuf.message import Message
from google.rpc import error_details_pb2
from grpc_status import rpc_status
from holdfast.options.v1 import options_pb2

DetailT = TypeVar("DetailT", bound=Message)

_SERVICE_CONFIG = pathlib.Path(__file__).with_name("service_config.json").read_text(encoding="utf-8")
_OPTIONS = [("grpc.service_config", _SERVICE_CONFIG), ("grpc.service_config_disable_resolution", 1)]


def connect(
    address: str, token: str, certificates: grpc.ChannelCredentials | None = None, server: str | None = None
) -> grpc.Channel:
    """A channel to https://host:port with these or the usual certificates, or to http://host:port in plain text.

    The server's certificate must be of the name `server`, or of the host where none is given.
    """
    url = urllib.parse.urlsplit(address)
    if url.scheme == "https":
        options = [*_OPTIONS, ("grpc.ssl_target_name_override", server)] if server else _OPTIONS
        channel = grpc.secure_channel(url.netloc, certificates or grpc.ssl_channel_credentials(), options)
    elif url.scheme == "http":
        channel = grpc.insecure_channel(url.netloc, _OPTIONS)
    else:
        raise ValueError(f"{address!r} begins neither with https:// nor with http://")
    return grpc.intercept_channel(channel, _Defaults(token))


def tls(folder: str | pathlib.Path) -> grpc.ChannelCredentials:
    """What a folder as for --tls-dir holds: whom to believe (ca.crt) and what to prove oneself with (tls.crt, tls.key)."""
    authority, chain, key = (pathlib.Path(folder, name).read_bytes() for name in ("ca.crt", "tls.crt", "tls.key"))
    return grpc.ssl_channel_credentials(authority, key, chain)


def detail(error: grpc.RpcError, kind: type[DetailT]) -> DetailT | None:
    """What the service tells about its refusal, e.g. google.rpc.BadRequest; None if it does not."""
    status = rpc_status.from_call(error) if isinstance(error, grpc.Call) else None
    packed: Iterable[Any] = status.details if status else ()
    for each in packed:
        found = kind()
        if each.Unpack(found):
            return found
    return None


def reason(error: grpc.RpcError) -> str:
    """The stable name of the refusal, e.g. NO_AVAILABILITY; empty where no service has answered."""
    info = detail(error, error_details_pb2.ErrorInfo)
    return info.reason if info else ""


def retry_delay_s(error: grpc.RpcError) -> float | None:
    """After how many seconds coming back may help; None if the service does not say."""
    info = detail(error, error_details_pb2.RetryInfo)
    return info.retry_delay.ToNanoseconds() / 1e9 if info else None


class _Details(NamedTuple):
    method: str
    timeout: float | None
    metadata: Any
    credentials: grpc.CallCredentials | None
    wait_for_ready: bool | None
    compression: grpc.Compression | None


class _Defaults(grpc.UnaryUnaryClientInterceptor, grpc.UnaryStreamClientInterceptor):
    """Adds the token, and what the caller has not said."""

    def __init__(self, token: str) -> None:
        self._authorization = ("authorization", f"Bearer {token}")

    def intercept_unary_unary(self, continuation: Callable[..., Any], details: Any, request: Any) -> Any:
        # Written into the caller's own message: sending that again is a repeat, too.
        if "request_id" in request.DESCRIPTOR.fields_by_name and not request.request_id:
            request.request_id = str(uuid.uuid4())
        timeout = _timeout(details.method) if details.timeout is None else details.timeout
        return continuation(self._authorized(details, timeout), request)

    def intercept_unary_stream(self, continuation: Callable[..., Any], details: Any, request: Any) -> Any:
        return continuation(self._authorized(details, details.timeout), request)

    def _authorized(self, details: Any, timeout: float | None) -> _Details:
        metadata = [*(details.metadata or ()), self._authorization]
        kept = (details.credentials, details.wait_for_ready, details.compression)
        return _Details(details.method, timeout, metadata, *kept)


def _timeout(path: str) -> float:
    """What the server takes where the caller says nothing."""
    method = descriptor_pool.Default().FindMethodByName(path.lstrip("/").replace("/", "."))
    return float(method.GetOptions().Extensions[options_pb2.deadline].default_ms) / 1000

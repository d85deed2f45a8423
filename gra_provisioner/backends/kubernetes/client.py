"""Requests to the API server: plain JSON in and out, every failure one of gra's errors.

The ``kubernetes`` library brings credentials, TLS, proxies and the connection pool.  Objects stay
the dictionaries that the API speaks (its models would cost more time than the requests), so that
:mod:`.phases` and :mod:`.manifest` see exactly what Kubernetes says.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import socket
import ssl
import tempfile
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar
from urllib.parse import quote

import aiohttp
import picows
from kubernetes.aio.client import ApiClient, Configuration
from kubernetes.aio.config import ConfigException

from ...errors import (
    BackendError,
    CertificateUntrusted,
    ClusterRefused,
    ClusterUnreachable,
    KubeconfigError,
)
from .handshake import open_websocket
from .kubeconfig import Credentials, Target, load_credentials
from .refusals import refusal

# The API server answers within milliseconds, also with a refusal; admission webhooks are given 10 s
# by default and at most 30.
_ANSWER_WITHIN = 35.0
_CONNECT_WITHIN = 5.0
# How often refused credentials are read anew: an exec plugin may open a browser.
_RELOAD_EVERY = 5.0
# What a proxy says behind which nobody answers.
_OF_A_PROXY = frozenset({502, 503, 504})

T = TypeVar("T")

_VERBS = {"POST": "create", "PATCH": "patch", "DELETE": "delete"}


class Client:
    """The API server as one process uses it.  Belongs to one event loop.

    Nothing is read or opened before the first request.  Refused credentials (401) are read anew
    and the request is made again, once: tokens expire and certificates are rotated while kernels
    run.  Likewise if the certificate of the API server is not trusted (any more).
    """

    def __init__(self, target: Target, environ: Mapping[str, str]) -> None:
        self._target = target
        self._environ = dict(environ)
        self._lock = asyncio.Lock()
        self._api: ApiClient | None = None
        self._closed = False
        # Replaced by one with newer certificates, but websockets may still be open on them.
        self._retired: list[ApiClient] = []
        self._loaded = -_RELOAD_EVERY
        self._credentials: Credentials | None = None

    @property
    def credentials(self) -> Credentials:
        """What is in use.  Known after :meth:`open`."""
        if self._credentials is None:
            raise BackendError("The cluster was not opened before it was used.")
        return self._credentials

    @property
    def namespace(self) -> str:
        """The namespace of the runners."""
        return self.credentials.namespace

    async def open(self) -> None:
        """Read the credentials.  Makes no request.

        Raises :class:`~gra_provisioner.errors.KubeconfigError`.
        """
        await self._current()

    async def close(self) -> None:
        """Close all connections, for good."""
        self._closed = True
        clients, self._retired = [*self._retired, self._api], []
        self._api = None
        for client in clients:
            if client is not None:
                await client.close()

    async def request(
        self,
        method: str,
        resource: str,
        name: str = "",
        *,
        body: Mapping[str, Any] | None = None,
        query: Sequence[tuple[str, str]] = (),
        content_type: str = "application/json",
    ) -> dict[str, Any]:
        """One request about ``resource`` (``pods``) in the namespace, and the answer's JSON.

        Raises :class:`~gra_provisioner.errors.ClusterRefused` with what the API server said,
        :class:`~gra_provisioner.errors.ClusterUnreachable` or another
        :class:`~gra_provisioner.errors.BackendError`.
        """
        timeout = aiohttp.ClientTimeout(total=_ANSWER_WITHIN, sock_connect=_CONNECT_WITHIN)
        response = await self._send(method, resource, name, query, body, content_type, timeout)
        with self._translated():
            answer = await response.read()
        return self._decoded(answer)

    async def names(self, path: str) -> list[str] | None:
        """The names of the objects at this path of the API; ``None`` if they may not be listed.

        For what is good to know and no user of gra must be allowed to read.  Raises
        :class:`~gra_provisioner.errors.ClusterUnreachable`.
        """
        api = await self._current()
        timeout = aiohttp.ClientTimeout(total=_ANSWER_WITHIN, sock_connect=_CONNECT_WITHIN)
        with self._translated():
            _, url, headers, _, _ = await api.param_serialize(
                "GET", path, auth_settings=["BearerToken"]
            )
            answer = await api.rest_client.request(
                "GET", url, headers=headers, _request_timeout=timeout
            )
            if answer.response.status != 200:
                answer.response.release()
                return None
            found = self._decoded(await answer.response.read())
        return [item["metadata"]["name"] for item in found.get("items") or ()]

    async def ping(self, within: float) -> None:
        """Ask whether the API server is there; an answer of any kind will do.

        Its version is a fixed text, which costs it nothing.  Raises
        :class:`~gra_provisioner.errors.ClusterUnreachable` where nobody answers for ``within``
        seconds, or who stands in between says that nobody does.
        """
        api = await self._current()
        timeout = aiohttp.ClientTimeout(total=within)
        with self._translated():
            _, url, headers, _, _ = await api.param_serialize("GET", "/version")
            answer = await api.rest_client.request(
                "GET", url, headers=headers, _request_timeout=timeout
            )
            if answer.response.status in _OF_A_PROXY:
                raise self._no_api_server()
            answer.response.release()

    @contextlib.asynccontextmanager
    async def watch(
        self, resource: str, query: Sequence[tuple[str, str]], silence: float
    ) -> AsyncIterator[AsyncIterator[dict[str, Any]]]:
        """One watch request: entered once it is accepted, with its events until the server ends it.

        A connection on which nothing comes for ``silence`` seconds is taken for dead.
        """
        timeout = aiohttp.ClientTimeout(total=None, sock_connect=_CONNECT_WITHIN, sock_read=silence)
        query = [("watch", "true"), *query]
        response = await self._send("GET", resource, "", query, None, "application/json", timeout)
        try:
            yield self._events(response)
        finally:
            response.close()

    async def _events(self, response: aiohttp.ClientResponse) -> AsyncIterator[dict[str, Any]]:
        with self._translated():
            # A line without an end was cut off with the connection.
            while (line := await response.content.readline()).endswith(b"\n"):
                yield self._decoded(line)

    @contextlib.asynccontextmanager
    async def log(
        self, name: str, query: Sequence[tuple[str, str]], silence: float
    ) -> AsyncIterator[AsyncIterator[bytes]]:
        """One request for ``pods/NAME/log``: entered once it is accepted, with what comes of it.

        A connection on which nothing comes for ``silence`` seconds is taken for dead.
        """
        timeout = aiohttp.ClientTimeout(total=None, sock_connect=_CONNECT_WITHIN, sock_read=silence)
        response = await self._send(
            "GET", "pods", name, query, None, "application/json", timeout, subresource="log"
        )
        try:
            yield self._blocks(response)
        finally:
            response.close()

    async def _blocks(self, response: aiohttp.ClientResponse) -> AsyncIterator[bytes]:
        with self._translated():
            async for block in response.content.iter_any():
                yield block

    async def websocket(
        self,
        name: str,
        subresource: str,
        query: Sequence[tuple[str, str]],
        listener: picows.WSListener,
        protocol: str,
    ) -> picows.WSTransport:
        """A websocket to ``pods/NAME/SUBRESOURCE`` (``portforward``, ``exec``).

        ``listener`` is told what comes, in the subprotocol ``protocol``.  Raises as
        :meth:`request` does.
        """

        async def attempt(api: ApiClient) -> picows.WSTransport:
            path = f"pods/{quote(name, safe='')}/{subresource}"
            url, headers = await self._prepared(api, "GET", path, query)
            headers["Sec-WebSocket-Protocol"] = protocol
            try:
                return await open_websocket(
                    url,
                    headers,
                    listener,
                    api.configuration,
                    api.rest_client.ssl_context,
                    connect_within=_CONNECT_WITHIN,
                    answer_within=_ANSWER_WITHIN,
                )
            except picows.WSHandshakeError as error:
                status = 0 if error.response is None else int(error.response.status)
                if status < 400:
                    raise self._no_api_server() from None
                text = (error.raw_body or b"").decode("utf-8", "replace")
                raise self._refused(status, text, "create", f"pods/{subresource}") from None

        return await self._admitted(attempt)

    # -- inside -----------------------------------------------------------------------------

    async def _send(
        self,
        method: str,
        resource: str,
        name: str,
        query: Sequence[tuple[str, str]],
        body: Mapping[str, Any] | None,
        content_type: str,
        timeout: aiohttp.ClientTimeout,
        subresource: str = "",
    ) -> aiohttp.ClientResponse:
        path = "/".join(filter(None, (resource, quote(name, safe=""), subresource)))
        asked_for = f"{resource}/{subresource}" if subresource else resource

        async def attempt(api: ApiClient) -> aiohttp.ClientResponse:
            url, headers = await self._prepared(api, method, path, query)
            # As kubectl's: a log is plain text.
            headers.update({"Accept": "application/json, */*", "Content-Type": content_type})
            answer = await api.rest_client.request(
                method,
                url,
                headers=headers,
                body=body,
                _request_timeout=timeout,
            )
            response: aiohttp.ClientResponse = answer.response
            if response.status < 400:
                return response
            text = await response.text(errors="replace")
            verb = _VERBS.get(method) or ("get" if name else "list")
            raise self._refused(response.status, text, verb, asked_for)

        return await self._admitted(attempt)

    async def _admitted(self, attempt: Callable[[ApiClient], Awaitable[T]]) -> T:
        """What ``attempt`` gives, made again, once, with newer credentials if these are refused."""
        api = await self._current()
        credentials = self.credentials
        try:
            with self._translated():
                return await attempt(api)
        except (CertificateUntrusted, ClusterRefused) as error:
            if isinstance(error, ClusterRefused) and error.status != 401:
                raise
            is_untrusted = isinstance(error, CertificateUntrusted)
            if not await self._reload(credentials, connect_anew=is_untrusted):
                raise
        api = await self._current()
        with self._translated():
            return await attempt(api)

    async def _prepared(
        self, api: ApiClient, method: str, path: str, query: Sequence[tuple[str, str]]
    ) -> tuple[str, dict[str, str]]:
        try:
            _, url, headers, _, _ = await api.param_serialize(
                method,
                f"/api/v1/namespaces/{self.namespace}/{path}",
                query_params=list(query),
                auth_settings=["BearerToken"],
            )
        except (ConfigException, OSError) as error:
            # The token of a service account is read anew from time to time.
            raise KubeconfigError(
                f"The credentials of {self.credentials.origin} cannot be used any more: {error}",
                hint="It is tried again while a kernel runs.",
            ) from None
        return url, headers

    async def _current(self) -> ApiClient:
        async with self._lock:
            if self._closed:
                raise ClusterUnreachable("The connection to the cluster was closed.")
            return self._api or await self._load()

    async def _load(self, connect_anew: bool = False) -> ApiClient:
        self._loaded = asyncio.get_running_loop().time()
        # Gone before a request is made: a key is not to outlive a process that is killed.
        with tempfile.TemporaryDirectory(prefix="gra-credentials-") as folder:
            credentials = await load_credentials(self._target, self._environ, Path(folder))
            return self._use(credentials, connect_anew)

    def _use(self, credentials: Credentials, connect_anew: bool) -> ApiClient:
        if self._closed:
            raise ClusterUnreachable("The connection to the cluster was closed.")
        configuration = credentials.configuration
        # Every runner holds a connection of its own.
        configuration.connection_pool_maxsize = 0
        # As kubectl: older clusters' authorities lack what Python 3.13 asks of a certificate.
        configuration.disable_strict_ssl_verification = True
        api = None if connect_anew else self._api
        if api is not None and _connect_alike(api.configuration, configuration):
            # A token alone is part of each request: tokens that last for minutes must not leave
            # a pool of connections each.
            api.configuration = configuration
            self._credentials = credentials
            return api
        try:
            api = ApiClient(configuration)
        except (ssl.SSLError, OSError) as error:
            raise KubeconfigError(
                f"A certificate or key of {credentials.origin} cannot be read: {error}",
                hint="It is to be PEM, or base64 of it in the -data fields.",
            ) from None
        if self._api is not None:
            self._retired.append(self._api)
        self._credentials, self._api = credentials, api
        return api

    async def _reload(self, stale: Credentials, *, connect_anew: bool = False) -> bool:
        """Whether there may be newer credentials than ``stale``."""
        async with self._lock:
            if self._credentials is not stale:
                return True
            if asyncio.get_running_loop().time() - self._loaded < _RELOAD_EVERY:
                return False
            await self._load(connect_anew)
            return True

    def _decoded(self, text: bytes) -> dict[str, Any]:
        try:
            value = json.loads(text)
        except ValueError:
            value = None
        if not isinstance(value, dict):
            raise self._no_api_server()
        return value

    def _no_api_server(self) -> ClusterUnreachable:
        credentials = self.credentials
        return ClusterUnreachable(
            f"What answers at {credentials.configuration.host} ({credentials.origin}) is not the "
            "API server of a cluster.",
            hint="A proxy or a login page may stand in between. It is tried again while a kernel "
            "runs.",
        )

    def _refused(self, status: int, text: str, verb: str, resource: str) -> ClusterRefused:
        try:
            body: Any = json.loads(text)
        except ValueError:
            body = text
        why = refusal(status, body, verb, resource, self.namespace)
        return ClusterRefused(
            why.message,
            hint=why.hint,
            reason=why.reason,
            details={**why.details, "verb": verb, "resource": resource, "status": status},
            status=status,
        )

    @contextlib.contextmanager
    def _translated(self) -> Any:
        """The failures of connections, as errors of gra's."""
        server, origin = self.credentials.configuration.host, self.credentials.origin
        try:
            yield
        except (aiohttp.ClientConnectorCertificateError, ssl.SSLCertVerificationError) as error:
            why = getattr(error, "certificate_error", error)
            raise CertificateUntrusted(
                f"The certificate of the API server {server} ({origin}) is not trusted: {why}.",
                hint="The kubeconfig's certificate-authority must be the one that signed it, and "
                "the address one that it names; the cluster may have been made anew.",
            ) from None
        except (aiohttp.InvalidURL, picows.WSInvalidURL):
            raise KubeconfigError(
                f"The server's address in {origin} is no URL: {server}.",
                hint="clusters[].cluster.server is to look like https://host:6443.",
            ) from None
        except asyncio.TimeoutError:
            raise ClusterUnreachable(
                f"The API server {server} ({origin}) did not answer in time.",
                hint="Is a VPN needed, or a proxy? It is tried again while a kernel runs.",
            ) from None
        except (aiohttp.ClientError, OSError) as error:
            raise ClusterUnreachable(
                f"The API server {server} ({origin}) cannot be reached: {_cause(error)}.",
                hint="Is the cluster up, and the address right? It is tried again while a kernel "
                "runs.",
            ) from None


def _connect_alike(one: Configuration, other: Configuration) -> bool:
    """Whether connections made for one will do for the other, whose token may differ."""
    names = ("host", "proxy", "tls_server_name", "verify_ssl", "ssl_ca_cert", "ca_cert_data")
    # What is in a file of the same name may be another certificate.
    return not (one.cert_file or other.cert_file) and all(
        getattr(one, name) == getattr(other, name) for name in names
    )


def _cause(error: BaseException) -> str:
    if isinstance(error, aiohttp.ClientConnectorError):
        error = error.os_error
    if not isinstance(error, OSError):
        return str(error) or type(error).__name__
    # asyncio's own text says only that the call failed.  The numbers of TLS and of name resolution
    # are not the system's.
    if error.errno and not isinstance(error, (ssl.SSLError, socket.gaierror)):
        return os.strerror(error.errno)
    return error.strerror or str(error) or type(error).__name__

"""The port, with the bounds that pynetdicom's own server leaves open: how many connections, how long a PDU may take
and how large it, its message and the queue of messages may be; and TLS without that one who says nothing keeps others
out.
"""

from __future__ import annotations

import ipaddress
import socket
import ssl
import threading
import time
from collections.abc import Callable, Mapping
from socketserver import BaseServer
from typing import Any, cast

from pynetdicom.ae import ApplicationEntity
from pynetdicom.association import Association
from pynetdicom.transport import AssociationSocket, RequestHandler, ThreadedAssociationServer

from recontour.node.config import Limits

MOST_STRANGERS = 4  # connections at once from addresses of nobody, who are told so in DICOM's words
MOST_WAITING = 1  # requests of one peer beside the one at hand: asynchronous operations are not offered
_LONGEST_REQUEST = 262144  # bytes of an A-ASSOCIATE-RQ: 128 contexts with 30 transfer syntaxes each
_AT_ONCE = 65536  # bytes

Told = Callable[[str, str, str], None]  # event, address, why


class BoundedSocket(AssociationSocket):
    """One connection that was accepted. What is too large, too slow or too much ends the association (PS3.8 9.3.1)."""

    def __init__(self, assoc: Association, connection: socket.socket, limits: Limits, told: Told) -> None:
        super().__init__(assoc, client_socket=connection)
        self._limits, self._told = limits, told
        self.select_timeout = limits.timeout_s

    def recv(self, nr_bytes: int) -> bytearray:
        """So many bytes, or fewer where the connection ended. Raises OSError, which ends the association, where they
        are too many or do not come in time."""
        if excess := self._excess(nr_bytes):
            self._told("refused data", self.address, excess)
            self.event_queue.put("Evt19")  # an invalid PDU: the peer is sent an A-ABORT
            raise OSError(excess)
        connection = cast(socket.socket, self.socket)
        data = bytearray()
        deadline = time.monotonic() + self._limits.timeout_s
        try:
            while len(data) < nr_bytes:
                connection.settimeout(max(deadline - time.monotonic(), 0.001))
                part = connection.recv(min(_AT_ONCE, nr_bytes - len(data)))
                if not part:
                    break
                data += part
        except TimeoutError:
            self._told("connection timed out", self.address, "a PDU that did not come in time")
            raise
        finally:
            connection.settimeout(self._limits.timeout_s)
        return data

    @property
    def address(self) -> str:
        """The other end's."""
        return self.assoc.requestor.address or ""

    def cut(self) -> None:
        """Ends the connection from another thread: whoever reads from it wakes up."""
        if self.socket is not None:
            self._shutdown_socket()

    def _excess(self, more: int) -> str:
        """What is too large or too much, if `more` bytes were taken; "" where nothing is."""
        most = self._limits.pdu_bytes
        if more > (most if self.assoc.is_established else max(most, _LONGEST_REQUEST)):
            return f"a PDU of {more} bytes"
        message = self.assoc.dimse.message
        held = 0
        if message is not None:
            held = message.encoded_command_set.tell() + (message.data_set.tell() if message.data_set else 0)
        if held + more > self._limits.file_mb * 1e6:
            return f"an object of more than {self._limits.file_mb:g} MB"
        if cast(Any, self.assoc.dimse).msg_queue.qsize() > MOST_WAITING:
            return "more requests than are answered"
        return ""


class _Handler(RequestHandler):
    """As pynetdicom's, with a bounded socket."""

    def handle(self) -> None:
        server = cast(Listener, self.server)
        assoc = self._create_association()
        assoc.dul.event_queue.get_nowait()  # every wrapper announces its connection: this was the first one's
        assoc.dul.socket = BoundedSocket(assoc, cast(socket.socket, self.request), server.limits, server.told)
        assoc.start()
        server.opened(assoc, self.client_address)


class Listener(ThreadedAssociationServer):
    """One port, with TLS or without."""

    daemon_threads = True
    request_queue_size = 64

    def __init__(
        self,
        ae: ApplicationEntity,
        address: tuple[str, int],
        limits: Limits,
        handlers: Mapping[Any, Callable[..., Any]],
        is_listed: Callable[[str], bool],
        told: Told,
        tls: ssl.SSLContext | None = None,
    ) -> None:
        """is_listed: whether an address is some peer's. told: called with what is refused before any association.
        Raises OSError where the port cannot be had."""
        self.limits, self.told, self.tls = limits, told, tls
        self._is_listed = is_listed
        self._thread: threading.Thread | None = None
        self._lock = threading.RLock()
        self._associations: list[tuple[Association, bool]] = []
        self._arriving: dict[Any, bool] = {}  # connections that are no association yet: whether listed
        pairs: list[Any] = list(handlers.items())
        super().__init__(ae, address, ae.ae_title, [], None, pairs, _Handler)  # pyright: ignore[reportUnknownMemberType]

    def start(self) -> None:
        """Begins to accept, in a thread of its own."""
        self._thread = threading.Thread(target=self.serve_forever, name="listener", daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """Accepts nothing any more; associations go on."""
        if self._thread is not None:
            BaseServer.shutdown(self)  # pynetdicom's looks for the server in its AE's list
        self.server_close()

    def established(self) -> int:
        """How many associations there are."""
        return sum(assoc.is_established for assoc, _ in self._open())

    def busy(self) -> bool:
        """Whether any connection is open."""
        return bool(self._open() or self._arriving)

    def cut(self, also_established: bool = True) -> None:
        """Ends all connections, or those that are no association yet."""
        for assoc, _ in self._open():
            if also_established or not assoc.is_established:
                cast(BoundedSocket, assoc.dul.socket).cut()

    def opened(self, assoc: Association, client_address: Any) -> None:
        """A connection that arrived has become an association, which has begun."""
        with self._lock:
            self._associations.append((assoc, self._arriving.pop(client_address)))

    def get_request(self) -> tuple[socket.socket, tuple[str, int]]:
        """The next connection. The handshake of TLS is left to its own thread, since it may take for ever."""
        connection, address = cast(socket.socket, self.socket).accept()
        connection.settimeout(self.limits.timeout_s)
        return connection, address

    def verify_request(self, request: Any, client_address: Any) -> bool:
        """Whether there is room for one more; an association that is one too many is rejected in DICOM's words."""
        listed = self._is_listed(plain_address(client_address[0]))
        with self._lock:
            others = [known for _, known in self._open()] + list(self._arriving.values())
            room = 2 * self.limits.associations if listed else MOST_STRANGERS
            fits = sum(known == listed for known in others) < room
            if fits:
                self._arriving[client_address] = listed
        if not fits:
            self.told("connection refused", plain_address(client_address[0]), "too many connections")
        return fits

    def process_request_thread(self, request: Any, client_address: Any) -> None:
        """TLS, where it is spoken, and the association's beginning."""
        try:
            if self.tls is not None:
                request = self.tls.wrap_socket(request, server_side=True)
            self.finish_request(request, client_address)
        except Exception as error:
            address = plain_address(client_address[0])
            with self._lock:
                self._arriving.pop(client_address, None)
            what = "TLS refused" if isinstance(error, ssl.SSLError) else "connection lost"
            self.told(what, address, _why(error))
            self.shutdown_request(request)

    def handle_error(self, request: Any, client_address: Any) -> None:
        """No thread could be begun for a connection. In place of a traceback on stderr, which may quote what was
        received."""
        with self._lock:
            self._arriving.pop(client_address, None)
        self.told("connection lost", plain_address(client_address[0]), "an error")

    def _open(self) -> list[tuple[Association, bool]]:
        """Associations whose connection may be open; one thread of the two may be later than the other."""
        with self._lock:
            self._associations = [(a, known) for a, known in self._associations if _is_open(a)]
            return list(self._associations)


def _why(error: Exception) -> str:
    """In the words of OpenSSL or of the system, which quote nothing that was received."""
    if isinstance(error, TimeoutError):
        return "it said nothing"
    if isinstance(error, ssl.SSLError) and error.reason:
        return error.reason.replace("_", " ").lower()
    return getattr(error, "strerror", None) or type(error).__name__


def _is_open(assoc: Association) -> bool:
    dul = assoc.dul
    return assoc.is_alive() and (dul.ident is None or dul.is_alive())


def plain_address(text: str) -> str:
    """An IPv4 address that came through an IPv6 socket, as IPv4."""
    address = ipaddress.ip_address(text.partition("%")[0])
    mapped = getattr(address, "ipv4_mapped", None)
    return str(mapped or address)

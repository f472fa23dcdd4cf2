"""What the node is told: one TOML file, as in deploy/node.toml. Frozen, validated at birth, errors by name."""

from __future__ import annotations

import ipaddress
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, cast

from recontour.errors import SettingsError
from recontour.queue.child import REGISTRATION, REPORT, RTSTRUCT
from recontour.settings import between, filled, read_toml

FILES = {"rtstruct": RTSTRUCT, "registration": REGISTRATION, "report": f"{REPORT}.dcm"}  # what a peer may get

_LONGEST_TITLE = 16  # PS3.8 9.3.2
_HIGHEST_PORT = 65535
_PATHS = ("spool", "settings", "audit")


@dataclass(frozen=True)
class Peer:
    """Another application entity. It is believed to be itself by its AE title and its address, and by its certificate
    where it speaks TLS.

    host: name or address; it may send from there. addresses: further addresses or networks that it sends from.
    port: where it listens; 0 where nothing is sent to it. may_send: whether its objects are taken. gets: which results
    are sent to it. storage_commitment: a result counts as sent when the peer has committed itself to keep it, and not
    before. tls: it speaks TLS in both directions, and is refused without.
    """

    ae_title: str = ""
    host: str = ""
    port: int = 0
    addresses: tuple[str, ...] = ()
    may_send: bool = False
    gets: tuple[str, ...] = ()
    storage_commitment: bool = False
    tls: bool = False

    def __post_init__(self) -> None:
        _title(f"peers: {self.ae_title or 'one'}.ae_title", self.ae_title)
        where = f"peers: {self.ae_title}"
        _port(f"{where}.port", self.port, optional=True)
        _texts(f"{where}.addresses", self.addresses)
        for network in self.addresses:
            _network(f"{where}.addresses", network)
        if unknown := [name for name in self.gets if name not in FILES]:
            raise SettingsError(f"{unknown}", where=f"{where}.gets", allowed=", ".join(FILES))
        _host(f"{where}.host", self.host)
        if self.gets and not self.port:
            raise SettingsError("no port to send to", where=f"{where}.port", allowed="the port at which it listens")
        if self.storage_commitment and not self.gets:
            found = "storage commitment without results that are sent"
            raise SettingsError(found, where=f"{where}.storage_commitment", allowed="false, or name what it gets")


@dataclass(frozen=True)
class Limits:
    """What one peer, or all of them, may use up. An object at hand is three times in memory; at worst the
    memory is associations x 6 x file_mb."""

    pdu_bytes: int = 131072  # of one PDU (PS3.8 9.3.1)
    associations: int = 10  # at once
    file_mb: float = 512.0  # of one object
    timeout_s: float = 30.0  # without a byte, for one PDU, and for an answer
    commitment_s: float = 600.0  # from asking for storage commitment to its report

    def __post_init__(self) -> None:
        between("limits.pdu_bytes", self.pdu_bytes, 4096, 4194304)
        between("limits.associations", self.associations, 1, 100)
        between("limits.file_mb", self.file_mb, 0.1, 4096.0)
        between("limits.timeout_s", self.timeout_s, 1.0, 600.0)
        between("limits.commitment_s", self.commitment_s, 1.0, 86400.0)


@dataclass(frozen=True)
class Tls:
    """TLS 1.2 or later; both sides show a certificate.

    port: where the node listens with TLS; 0 for none. certificate, key: its own, PEM. ca: who signed those of the
    peers. check_names: whether the certificate of a peer that is sent to must name its host.
    """

    port: int = 0
    certificate: str = ""
    key: str = ""
    ca: str = ""
    check_names: bool = True

    def __post_init__(self) -> None:
        _port("tls.port", self.port, optional=True)
        given = [bool(self.certificate), bool(self.key), bool(self.ca)]
        if any(given) != all(given):
            raise SettingsError("not all are given", where="tls", allowed="certificate, key and ca, or none of them")
        if self.port and not self.certificate:
            raise SettingsError("a port without a certificate", where="tls.port", allowed="certificate, key and ca")


@dataclass(frozen=True)
class RunChoices:
    """As the options of `recontour run`: organ = "ROI"; patterns of ROI names; the key of pseudonyms, a file."""

    rois: dict[str, str] = field(default_factory=dict[str, str])
    only: tuple[str, ...] = ()
    skip: tuple[str, ...] = ()
    pseudonym_key: str = ""

    def __post_init__(self) -> None:
        _texts("run.only", self.only)
        _texts("run.skip", self.skip)
        _texts("run.rois", tuple(self.rois.values()))


@dataclass(frozen=True)
class NodeConfig:
    """All of it. Paths are absolute, or relative to the configuration's own folder.

    address: on which the node listens. port: without TLS; 0 for none. spool: the folder of the queue, on a local disk.
    settings: the settings of every run (docs/settings.md). audit: the log's file; by default in the spool.
    quiet_s: a series is whole when nothing of it came for so long. send_rejected: whether contours and registration
    of a fraction that was rejected are sent; its report always is. keep_days: after so many days daily scans and
    results that are done with are removed (queue/retention.py); 0: never, since a hospital has to have decided it.
    """

    ae_title: str = "RECONTOUR"
    address: str = "0.0.0.0"
    port: int = 11112
    spool: str = ""
    settings: str = ""
    audit: str = ""
    quiet_s: float = 30.0
    send_rejected: bool = False
    keep_days: float = 0.0
    run: RunChoices = field(default_factory=RunChoices)
    limits: Limits = field(default_factory=Limits)
    tls: Tls = field(default_factory=Tls)
    peers: tuple[Peer, ...] = ()

    def __post_init__(self) -> None:
        _title("ae_title", self.ae_title)
        _port("port", self.port, optional=True)
        between("quiet_s", self.quiet_s, 1.0, 86400.0)
        between("keep_days", self.keep_days, 0.0, 36500.0)
        titles = [peer.ae_title for peer in self.peers]
        if twice := sorted({title for title in titles if titles.count(title) > 1}):
            raise SettingsError(f"{', '.join(twice)} twice", where="peers", allowed="each AE title once")
        if secret := [peer.ae_title for peer in self.peers if peer.tls and not self.tls.certificate]:
            raise SettingsError("TLS without a certificate", where=f"peers: {secret[0]}.tls", allowed="a table [tls]")

    @property
    def spool_folder(self) -> Path:
        """Where everything is that was received."""
        return Path(self.spool)

    @property
    def audit_file(self) -> Path:
        """Where the log is."""
        return Path(self.audit) if self.audit else self.spool_folder / "audit" / "audit.jsonl"


def read_config(path: Path) -> NodeConfig:
    """The configuration in a TOML file, complete enough to serve with. Raises SettingsError."""
    raw = read_toml(path)
    listed = raw.pop("peers", [])
    tables = cast(list[Any], listed) if isinstance(listed, list) else []
    if not tables or not all(isinstance(table, dict) for table in tables):
        raise SettingsError("no peers", where="peers", allowed="a table [[peers]] for each")
    base = cast(NodeConfig, filled(NodeConfig(), raw))
    peers = tuple(_peer(number, table) for number, table in enumerate(tables, 1))
    config = replace(_with_absolute_paths(base, path.absolute().parent), peers=peers)
    if not config.spool:
        raise SettingsError("no folder for the queue", where="spool", allowed="a folder on a local disk")
    if not (config.port or config.tls.port):
        raise SettingsError("no port to listen on", where="port", allowed="port, or tls.port, or both")
    if any(peer.may_send and peer.tls for peer in peers) and not config.tls.port:
        raise SettingsError("a peer sends with TLS, and no port takes it", where="tls.port", allowed="such as 2762")
    return config


def _peer(number: int, table: dict[str, Any]) -> Peer:
    """As `filled`, which starts from a valid whole; a peer is none before it has a name."""
    where = f"peers: {table.get('ae_title', number)}."
    return cast(Peer, filled(Peer(ae_title="BLANK", host="blank"), {"ae_title": "", "host": ""} | table, where))


def _with_absolute_paths(config: NodeConfig, base: Path) -> NodeConfig:
    def absolute(text: str) -> str:
        return str(base / text) if text else ""

    tls, run = config.tls, config.run
    return replace(
        config,
        **{name: absolute(getattr(config, name)) for name in _PATHS},
        tls=replace(tls, certificate=absolute(tls.certificate), key=absolute(tls.key), ca=absolute(tls.ca)),
        run=replace(run, pseudonym_key=absolute(run.pseudonym_key)),
    )


def _title(where: str, title: str) -> None:
    """PS3.5 6.2, AE: no backslash, no control characters, not blanks alone; here no blanks around it either."""
    plain = title.isascii() and title.isprintable() and "\\" not in title and title == title.strip()
    if not (plain and 0 < len(title) <= _LONGEST_TITLE):
        raise SettingsError(f"{title!r}", where=where, allowed=f"1 to {_LONGEST_TITLE} characters of ASCII")


def _port(where: str, port: int, optional: bool) -> None:
    between(where, port, 0 if optional else 1, _HIGHEST_PORT)


def _texts(where: str, values: tuple[object, ...]) -> None:
    if not all(isinstance(value, str) for value in values):
        raise SettingsError("something that is no text", where=where, allowed="a list of texts")


def _host(where: str, host: str) -> None:
    try:
        usable = bool(host.encode("idna")) and host.isprintable() and " " not in host
    except UnicodeError:  # an empty part, or one of more than 63 characters
        usable = False
    if not usable:
        raise SettingsError(f"{host!r}", where=where, allowed="a name or an address")


def _network(where: str, text: str) -> None:
    try:
        ipaddress.ip_network(text)
    except ValueError as error:
        raise SettingsError(f"{text!r}", where=where, allowed="such as 10.1.2.3 or 10.1.2.0/24") from error

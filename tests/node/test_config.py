"""The node's file: what is wrong with it is said by name, before anything runs."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from recontour.errors import SettingsError
from recontour.node.config import Limits, Peer, read_config
from tests.node.made_node import peer, write_config

GOOD = peer("ARCHIVE", 104, may_send=True, gets=["rtstruct", "report"], storage_commitment=True)
EXAMPLE = Path(__file__).parents[2] / "deploy" / "node.toml"


def test_paths_are_relative_to_the_file(tmp_path: Path) -> None:
    config = read_config(write_config(tmp_path, GOOD, settings="run.toml", audit="/var/log/a.jsonl"))
    assert config.spool_folder == tmp_path / "spool"
    assert config.settings == str(tmp_path / "run.toml")
    assert config.audit_file == Path("/var/log/a.jsonl")
    assert config.peers == (
        Peer("ARCHIVE", "127.0.0.1", 104, (), True, ("rtstruct", "report"), True, False),
    )  # fmt: skip
    assert read_config(write_config(tmp_path, GOOD)).audit_file == tmp_path / "spool" / "audit" / "audit.jsonl"


def test_the_example_is_right_and_says_the_defaults(tmp_path: Path) -> None:
    """With every comment taken for a setting as well."""
    assert read_config(EXAMPLE).limits == Limits()
    lines = EXAMPLE.read_text("utf-8").splitlines()
    whole = [line.removeprefix("# ") if " = " in line or line.startswith("# [") else line for line in lines]
    (tmp_path / "all.toml").write_text("\n".join(whole[1:]), "utf-8")
    config = read_config(tmp_path / "all.toml")
    assert config.tls.port == 2762 and config.run.rois == {"bladder": "Vescica", "rectum": "Retto"}
    assert config.peers[0].tls and config.peers[1].addresses == ("10.1.3.0/28",)


@pytest.mark.parametrize(
    ("peers", "more", "where"),
    [
        ([GOOD], {"spool": ""}, "spool"),
        ([GOOD], {"ae_title": "A" * 17}, "ae_title"),
        ([GOOD], {"ae_title": "A\\\\B"}, "ae_title"),
        ([GOOD], {"port": 70000}, "port"),
        ([GOOD], {"port": -1}, "port"),
        ([GOOD], {"quiet_s": 0}, "quiet_s"),
        ([GOOD], {"keep_days": -1}, "keep_days"),
        ([GOOD], {"colour": "red"}, "colour"),
        ([GOOD], {"limits__associations": 0}, "limits.associations"),
        ([GOOD], {"limits__file_mb": "much"}, "limits.file_mb"),
        ([GOOD], {"tls__port": 2762}, "tls.port"),
        ([GOOD], {"tls__certificate": "a.pem"}, "tls"),
        ([GOOD], {"run__only": [1]}, "run.only"),
        ([], {}, "peers"),
        ([GOOD, GOOD], {}, "peers"),
        ([peer("")], {}, "peers: one.ae_title"),
        ([peer("A", host="")], {}, "peers: A.host"),
        ([peer("A", host="archive..test")], {}, "peers: A.host"),
        ([peer("A", host="a" * 64)], {}, "peers: A.host"),
        ([peer("A", host="10.1.2.3 ")], {}, "peers: A.host"),
        ([peer("A", gets=["rtstruct"])], {}, "peers: A.port"),
        ([peer("A", 104, gets=["contours"])], {}, "peers: A.gets"),
        ([peer("A", 104, gets=[1])], {}, "peers: A.gets"),
        ([peer("A", addresses=["10.1.2.3/8"])], {}, "peers: A.addresses"),
        ([peer("A", storage_commitment=True)], {}, "peers: A.storage_commitment"),
        ([peer("A", tls=True)], {}, "peers: A.tls"),
        ([peer("A", colour="red")], {}, "peers: A.colour"),
        ([peer("A", may_send=1)], {}, "peers: A.may_send"),
    ],
)
def test_what_is_wrong_is_named(peers: list[str], more: dict[str, Any], where: str, tmp_path: Path) -> None:
    with pytest.raises(SettingsError) as caught:
        read_config(write_config(tmp_path, *peers, **more))
    assert caught.value.where == where and caught.value.allowed


def test_a_peer_that_sends_with_tls_needs_a_port_that_takes_it(tmp_path: Path) -> None:
    own = {f"tls__{name}": "a.pem" for name in ("certificate", "key", "ca")}
    with pytest.raises(SettingsError, match="no port takes it"):
        read_config(write_config(tmp_path, peer("A", may_send=True, tls=True), **own))
    assert read_config(write_config(tmp_path, peer("A", may_send=True, tls=True), **own, tls__port=2762)).tls.port


def test_no_port_at_all_is_refused(tmp_path: Path) -> None:
    path = write_config(tmp_path, GOOD)
    lines = ["port = 0" if line.startswith("port") else line for line in path.read_text("utf-8").splitlines()[:4]]
    path.write_text("\n".join([*lines, GOOD]), "utf-8")
    with pytest.raises(SettingsError, match="no port to listen on"):
        read_config(path)

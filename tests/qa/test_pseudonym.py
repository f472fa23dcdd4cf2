"""The same word for the same man, by a key that is found where it should be."""

from __future__ import annotations

import stat
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from recontour.errors import OutputRefused, UsageError
from recontour.qa.pseudonym import pseudonym, pseudonym_key, user_data_folder

KEY = b"key"


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.delenv("RECONTOUR_PSEUDONYM_KEY", raising=False)
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path / "data"))
    monkeypatch.setattr(sys, "platform", "linux")
    return tmp_path


def test_it_is_the_published_hmac() -> None:
    """The well-known HMAC-SHA256 of "The quick brown fox jumps over the lazy dog" with the key "key" begins so."""
    assert pseudonym(KEY, "The quick brown fox jumps over the lazy dog") == "P-f7bc83f4"


def test_the_same_man_has_one_and_another_man_another() -> None:
    assert pseudonym(KEY, " 1234 ") == pseudonym(KEY, "1234")
    assert len({pseudonym(KEY, str(k)) for k in range(1000)}) == 1000
    assert pseudonym(b"another key", "1234") != pseudonym(KEY, "1234")


def test_the_users_own_key_is_made_once_and_for_him_alone(home: Path) -> None:
    with ThreadPoolExecutor(8) as pool:
        keys = set(pool.map(lambda _: pseudonym_key(), range(16)))
    assert len(keys) == 1
    file = home / "data" / "recontour" / "pseudonym.key"
    assert user_data_folder() == file.parent
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert [p.name for p in file.parent.iterdir()] == ["pseudonym.key"]
    assert len(bytes.fromhex(keys.pop().decode())) == 32


def test_an_option_goes_before_the_environment_and_that_before_the_own(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    named, asked = home / "named", home / "asked"
    named.write_bytes(b"n" * 20 + b"\r\n")
    asked.write_bytes(b"a" * 20)
    monkeypatch.setenv("RECONTOUR_PSEUDONYM_KEY", str(named))
    assert pseudonym_key() == b"n" * 20
    assert pseudonym_key(asked) == b"a" * 20
    assert not (home / "data").exists()


def test_a_key_that_is_short_or_missing_is_refused(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    short = home / "short"
    short.write_bytes(b"0123456789\n")
    with pytest.raises(UsageError, match="10 bytes"):
        pseudonym_key(short)
    monkeypatch.setenv("RECONTOUR_PSEUDONYM_KEY", str(home / "nowhere"))
    with pytest.raises(UsageError, match="nowhere"):
        pseudonym_key()


def test_a_folder_that_cannot_be_is_told(home: Path) -> None:
    (home / "data").write_text("a file")
    with pytest.raises(OutputRefused, match="--pseudonym-key"):
        pseudonym_key()

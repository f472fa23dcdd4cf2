"""Keeping pages changes nothing but time, and ends with the block, also after an error."""

from __future__ import annotations

import pytest

from recontour.network import pages


class Recorder:
    def __init__(self) -> None:
        self.calls: list[tuple[object, ...]] = []

    def mallopt(self, option: int, value: int) -> int:
        self.calls.append((option, value))
        return 1

    def malloc_trim(self, keep: int) -> int:
        self.calls.append(("trim", keep))
        return 1


def test_what_was_set_is_put_back(monkeypatch: pytest.MonkeyPatch):
    library = Recorder()
    monkeypatch.setattr(pages, "_glibc", lambda: library)
    with pytest.raises(ValueError, match="inside"), pages.pages_kept():
        assert library.calls == [(-4, 0), (-1, 2**31 - 1)]
        raise ValueError("inside")
    assert library.calls[2:] == [(-4, 65536), (-1, 128 * 1024), ("trim", 0)]


def test_elsewhere_it_does_nothing(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(pages, "_glibc", lambda: None)
    with pages.pages_kept():
        pass

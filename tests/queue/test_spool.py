"""What was acknowledged is on disk, once and whole, whatever happens meanwhile; what was not is as if it never came."""

from __future__ import annotations

import contextlib
import errno
import os
import shutil
import sqlite3
import sys
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from recontour.disk import sync_folder
from recontour.errors import OutputRefused, ScanRefused
from recontour.queue.spool import Kept, Spool
from recontour.queue.status import status
from tests.queue.made_queue import as_file, drawn_on, keep, no_identity_in, scan

DIED, LIVED = 9, 0


@pytest.fixture
def spool(tmp_path: Path) -> Iterator[Spool]:
    made = Spool(tmp_path / "spool")
    yield made
    made.database.close()


def files(spool: Spool, place: str) -> list[Path]:
    return sorted(path for path in (spool.folder / place).rglob("*") if path.is_file())


def test_what_is_kept_is_there_byte_for_byte_and_once(spool: Spool) -> None:
    image = scan(1)[0]
    assert keep(spool, image) == [Kept.NEW]
    assert keep(spool, image) == [Kept.DUPLICATE]
    (file,) = files(spool, "series")
    assert file.read_bytes() == as_file(image)
    assert spool.held([image.SOPInstanceUID, "1.2.3"]) == {image.SOPInstanceUID}
    assert not files(spool, "incoming")


def test_an_object_whose_file_is_gone_or_cut_is_not_held(spool: Spool) -> None:
    images = scan(1, count=3)
    keep(spool, images)
    first, second, _ = files(spool, "series")
    first.unlink()
    second.write_bytes(second.read_bytes()[:-1])
    assert spool.held([i.SOPInstanceUID for i in images]) == {images[2].SOPInstanceUID}


@pytest.mark.parametrize("loss", ["file", "end of the file", "folder"])
def test_an_object_whose_file_was_lost_is_stored_when_it_comes_again(spool: Spool, loss: str) -> None:
    images = scan(1, count=3)
    keep(spool, images)
    file = files(spool, "series")[0]
    if loss == "folder":
        shutil.rmtree(file.parent)
    elif loss == "file":
        file.unlink()
    else:
        file.write_bytes(file.read_bytes()[:-1])
    images[0].file_meta.SourceApplicationEntityTitle = "ARCHIVE"  # not of the same length in another sender's words
    assert keep(spool, images[0], images[0]) == [Kept.NEW, Kept.DUPLICATE]
    assert file.read_bytes() == as_file(images[0])
    assert images[0].SOPInstanceUID in spool.held([i.SOPInstanceUID for i in images])
    assert len(spool.database.rows("SELECT * FROM objects")) == 3 and not files(spool, "incoming")


def test_a_sender_that_fails_does_not_take_away_what_another_one_has_stored(
    spool: Spool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The other one comes at the worst moment: when the first is about to clear up."""
    (image,) = scan(1, count=1)
    other = Spool(spool.folder)
    other.database.rows("PRAGMA busy_timeout = 0")
    stored: list[Kept] = []
    unlink = Path.unlink

    def first_the_other(path: Path, missing_ok: bool = False) -> None:
        if path.parent.parent.name == "series" and not stored:
            with contextlib.suppress(OutputRefused):  # it has to wait, and is told that here
                stored.extend(keep(other, image))
        unlink(path, missing_ok)

    with monkeypatch.context() as patch:
        patch.setattr(sys.modules["recontour.queue.spool"], "sync_folder", once_full(sync_folder))
        patch.setattr(Path, "unlink", first_the_other)
        with pytest.raises(OutputRefused, match="the disk is full"):
            keep(spool, image)
    assert bool(spool.held([image.SOPInstanceUID])) == (stored == [Kept.NEW])
    assert keep(other, image) == ([Kept.DUPLICATE] if stored else [Kept.NEW])
    other.database.close()


def once_full(call: Callable[..., None]) -> Callable[..., None]:
    """Fails at the first series' folder, and at nothing before or after it."""
    left = [None]

    def failing(folder: Path) -> None:
        if folder.parent.name == "series" and left:
            left.clear()
            full_disk()
        call(folder)

    return failing


def test_another_sender_writes_another_file_meta_and_it_is_the_same_object(spool: Spool) -> None:
    image = scan(1)[0]
    keep(spool, image)
    image.file_meta.SourceApplicationEntityTitle = "ARCHIVE"
    assert keep(spool, image) == [Kept.DUPLICATE]


@pytest.mark.parametrize(("change", "disputed"), [("pixels", True), ("place", True), ("description", False)])
def test_other_bytes_under_one_uid_are_kept_aside_and_told(spool: Spool, change: str, disputed: bool) -> None:
    image = scan(1)[0]
    first = as_file(image)
    keep(spool, image)
    if change == "pixels":
        image.PixelData = np.full((6, 4), 7, "<u2").tobytes()
    elif change == "place":
        image.ImagePositionPatient = [0, 0, 77]
    else:
        image.SeriesDescription = "another word"
    assert keep(spool, image, image) == [Kept.CONFLICT, Kept.CONFLICT]
    assert [file.read_bytes() for file in files(spool, "series")] == [first]
    assert [file.read_bytes() for file in files(spool, "aside")] == [as_file(image)]
    (told,) = status(spool).notices
    assert told[1] == "2" and no_identity_in(" ".join(told))
    trouble = spool.database.rows("SELECT trouble FROM series")[0][0]
    assert bool(trouble) == disputed


def spoilt() -> dict[str, bytes]:
    whole = as_file(scan(1)[0])
    structures = as_file(drawn_on(scan(1), 2))
    without = scan(1)[0]
    del without.SeriesInstanceUID
    climbing = scan(1, SeriesInstanceUID="../../1")[0]
    return {
        "nothing": b"",
        "text": b"x" * 500,
        "no pixels": whole[:-60],
        "cut in the pixels": whole[:-4],
        "cut in the header": whole[:400],
        "cut structures": structures[:-3],
        "no series": as_file(without),
        "a path for a series": as_file(climbing),
    }


@pytest.mark.parametrize("kind", list(spoilt()))
def test_what_is_no_whole_dicom_object_is_refused_and_leaves_nothing(spool: Spool, kind: str) -> None:
    uids = [str(scan(1)[0].SOPInstanceUID), str(drawn_on(scan(1), 2).SOPInstanceUID)]
    with pytest.raises(ScanRefused) as refused:
        spool.keep(spoilt()[kind], uids[kind == "cut structures"], "SCANNER")
    assert no_identity_in(str(refused.value))
    assert not files(spool, "series") and not files(spool, "incoming")
    assert not list(spool.folder.parent.glob("1*"))


def test_an_object_that_is_called_another_is_refused(spool: Spool) -> None:
    with pytest.raises(ScanRefused, match="not the one it was called"):
        spool.keep(as_file(scan(1)[0]), "1.2.3.4", "SCANNER")


def full_disk(*_: Any) -> None:
    raise OSError(errno.ENOSPC, "No space left on device")


@pytest.mark.parametrize("where", ["write", "replace", "folder", "database"])
def test_a_full_disk_is_one_clear_error_and_nothing_half_is_left(
    spool: Spool, where: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    keep(spool, scan(1)[0])
    late = scan(1, count=30)
    if where == "database":
        pages = spool.database.rows("PRAGMA page_count")[0][0]
        spool.database.rows(f"PRAGMA max_page_count = {pages}")
    else:
        monkeypatch.setattr(*{
            "write": (os, "fsync"),
            "replace": (os, "replace"),
            "folder": (sys.modules["recontour.queue.spool"], "sync_folder"),
        }[where], full_disk)  # fmt: skip
    acknowledged = [late[0].SOPInstanceUID]
    with pytest.raises(OutputRefused, match="the disk is full") as refused:
        for image in late[1:]:
            keep(spool, image)
            acknowledged.append(image.SOPInstanceUID)
    assert "Traceback" not in str(refused.value)
    assert {file.stem for file in files(spool, "series")} == set(acknowledged)
    assert not files(spool, "incoming")
    monkeypatch.undo()
    spool.database.rows("PRAGMA max_page_count = 100000")
    assert set(keep(spool, late)) == {Kept.NEW, Kept.DUPLICATE}  # there is room again
    assert len(spool.held([i.SOPInstanceUID for i in late])) == 30


class Steps:
    """Counts what is done to the disk, and ends the process, as a kill does, before the one that is asked for."""

    def __init__(self, fatal: int = 0, counting: bool = True) -> None:
        self.done: list[str] = []
        self.fatal = fatal
        self.counting = counting

    def before(self, name: str) -> None:
        if not self.counting:
            return
        self.done.append(name)
        if len(self.done) == self.fatal:
            os._exit(DIED)

    def wrapped(self, name: str, call: Callable[..., Any]) -> Callable[..., Any]:
        def counted(*args: Any, **named: Any) -> Any:
            self.before(name)
            return call(*args, **named)

        return counted

    def install(self, patch: Callable[[Any, str, Any], None]) -> None:
        steps = self

        class Counted(sqlite3.Connection):
            def execute(self, sql: str, values: Any = (), /) -> sqlite3.Cursor:
                steps.before(sql.split()[0])
                return super().execute(sql, values)

        connect = sqlite3.connect
        patch(sqlite3, "connect", lambda *a, **k: connect(*a, factory=Counted, **k))
        for name in ("fsync", "replace", "mkdir"):
            patch(os, name, self.wrapped(name, getattr(os, name)))


def in_another_process(work: Callable[[], None]) -> int:
    """Its exit status."""
    child = os.fork()
    if child == 0:
        try:
            work()
        except BaseException:
            os._exit(77)
        os._exit(LIVED)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


def test_a_kill_at_any_step_loses_nothing_that_was_acknowledged_and_keeps_nothing_twice(tmp_path: Path) -> None:
    image, again = scan(1, count=2)
    outcomes: list[int] = []
    for fatal in range(1, 200):
        folder = tmp_path / f"{fatal}"

        def work(folder: Path = folder, fatal: int = fatal) -> None:
            Steps(fatal).install(setattr)
            keep(Spool(folder), image)

        outcomes.append(in_another_process(work))
        spool = Spool(folder)
        held = spool.held([image.SOPInstanceUID])
        if outcomes[-1] == LIVED:
            assert held
        assert keep(spool, image) == [Kept.DUPLICATE if held else Kept.NEW]
        assert keep(spool, again) == [Kept.NEW]
        assert [f.read_bytes() for f in files(spool, "series")] == [as_file(image), as_file(again)]
        assert len(spool.database.rows("SELECT * FROM objects")) == 2
        spool.sweep(now=1e12)
        assert not files(spool, "incoming")
        spool.database.close()
        if outcomes[-1] == LIVED:
            break
    assert set(outcomes[:-1]) == {DIED} and outcomes[-1] == LIVED
    assert len(outcomes) > 30  # it died at every one of the steps, those of making the spool among them


def test_the_bytes_are_synced_before_the_name_and_the_name_before_the_row(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    steps = Steps()
    steps.install(monkeypatch.setattr)
    spool = Spool(tmp_path / "spool")
    keep(spool, scan(1, count=1))
    steps.done.clear()
    keep(spool, scan(1, count=2)[1])
    order = [name for name in steps.done if name not in ("SELECT", "UPDATE")]
    assert order == ["fsync", "BEGIN", "replace", "fsync", "INSERT", "COMMIT"]
    assert spool.database.rows("PRAGMA synchronous")[0][0] == 2  # FULL: the commit itself is synced
    assert spool.database.rows("PRAGMA journal_mode")[0][0] == "wal"


def test_four_senders_at_once_in_threads_and_in_processes(tmp_path: Path) -> None:
    spool = Spool(tmp_path / "spool")
    series = [scan(k, count=8) for k in range(4)]
    shared = scan(9, count=8)  # sent by all of them
    with ThreadPoolExecutor(4) as pool:
        kept = list(pool.map(lambda s: keep(spool, s, shared), series))
    everything = [outcome for one in kept for outcome in one]
    assert everything.count(Kept.NEW) == 40 and everything.count(Kept.DUPLICATE) == 24
    others = [scan(20 + k, count=4) for k in range(3)]
    children = []
    for one in others:
        child = os.fork()
        if child == 0:
            keep(Spool(tmp_path / "spool"), one, shared)
            os._exit(LIVED)
        children.append(child)
    assert [os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) for child in children] == [LIVED] * 3
    uids = [i.SOPInstanceUID for one in (*series, shared, *others) for i in one]
    assert spool.held(uids) == set(uids) and len(files(spool, "series")) == len(uids)


def test_a_spool_that_cannot_be_used_is_refused_in_one_sentence(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("x")
    with pytest.raises(OutputRefused, match="cannot be written"):
        Spool(tmp_path / "file")
    broken = tmp_path / "broken"
    Spool(broken).database.close()
    (broken / "queue.db").write_bytes(b"no database at all, but long enough to be looked at" * 100)
    with pytest.raises(OutputRefused, match=r"damaged|none of ours"):
        Spool(broken)


@pytest.mark.parametrize("before", ["nothing", "an open folder", "an open database"])
def test_the_folder_and_the_database_are_for_their_user_alone(tmp_path: Path, before: str) -> None:
    folder = tmp_path / "spool"
    mask = os.umask(0)
    try:
        if before != "nothing":
            folder.mkdir()
        if before == "an open database":
            (folder / "queue.db").touch()
        spool = Spool(folder)
        keep(spool, scan(1, count=1))
    finally:
        os.umask(mask)
    private = [*folder.glob("queue.db*"), *(path for path in folder.iterdir() if path.is_dir())]
    assert len(private) >= 6 and not [p.name for p in private if p.stat().st_mode & 0o077]
    assert before != "nothing" or folder.stat().st_mode & 0o077 == 0
    spool.database.close()


def test_new_folders_outlive_a_power_cut(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    synced: list[Path] = []
    monkeypatch.setattr(sys.modules["recontour.queue.spool"], "sync_folder", synced.append)
    spool = Spool(tmp_path / "spool")
    assert set(synced) == {tmp_path, spool.folder}
    keep(spool, scan(1, count=1))
    assert set(synced[2:]) == {spool.folder / "series", *(spool.folder / "series").iterdir()}
    spool.database.close()

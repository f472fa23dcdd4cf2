"""A node that is killed while it is busy: two hundred series from four senders at once, all run and all delivered, each
once. The run is a stand-in that ends at once (stand_in.py); the network, the queue, the processes and the kills are
real. The senders do what an archive does: what was not acknowledged they send again.
"""

from __future__ import annotations

import sys
import threading
from collections import Counter
from pathlib import Path

from pydicom.dataset import Dataset

from recontour.node.config import read_config
from recontour.queue.spool import Spool
from tests.node.made_node import Archive, NodeProcess, associated, free_port, peer, wait_until, write_config
from tests.queue.made_queue import ROOT, drawn_on, scan

SERIES, SENDERS, SLICES = 200, 4, 3
QUICKLY = """
import recontour.node.service, recontour.queue.jobs, recontour.queue.worker
recontour.node.service.EVERY_S = 0.2
recontour.queue.jobs.TRY_AGAIN_S = 0.2
recontour.queue.jobs.MOST_KILLS = 1000
recontour.queue.worker.CHILD = {child!r}
"""


def cohort() -> tuple[list[Dataset], list[list[Dataset]]]:
    """The plan of one man, and his two hundred daily scans."""
    planning = scan(1, "20260101", SLICES)
    daily = [scan(1000 + number, "20260105", SLICES) for number in range(SERIES)]
    return [*planning, drawn_on(planning, 2)], daily


class Sender(threading.Thread):
    """Sends its series one after another, one association each, until every object is acknowledged."""

    def __init__(self, port: int, series: list[list[Dataset]]) -> None:
        super().__init__()
        self._port, self._left = port, series
        self.acknowledged: list[str] = []
        self.refusals: set[int] = set()

    def run(self) -> None:
        for images in self._left:
            left = list(images)
            while left:
                left = self._send(left)

    def _send(self, images: list[Dataset]) -> list[Dataset]:
        """What is still to be sent."""
        with associated(self._port) as assoc:
            for number, image in enumerate(images):
                try:
                    answer = assoc.send_c_store(image)
                except RuntimeError:  # there is no association, or there is none any more
                    return images[number:]
                if answer.get("Status") != 0:
                    self.refusals.update({answer.Status} if "Status" in answer else set())
                    return images[number:]
                self.acknowledged.append(image.SOPInstanceUID)
        return []


def test_nothing_is_lost_and_nothing_is_done_twice(tmp_path: Path) -> None:
    port, archive = free_port(), Archive(free_port())
    scanner = peer("SCANNER", may_send=True)
    gets = peer("ARCHIVE", archive.port, gets=["rtstruct"])
    config = write_config(tmp_path, scanner, gets, port=port, limits__associations=20)
    child = (sys.executable, "-I", "-S", str(Path(__file__).with_name("stand_in.py")), str(tmp_path / "ledger"))
    node = NodeProcess(config, QUICKLY.format(child=child))
    plan, daily = cohort()
    senders = [Sender(port, ([plan] if k == 0 else []) + daily[k::SENDERS]) for k in range(SENDERS)]
    try:
        for sender in senders:
            sender.start()
        for share in (0.25, 0.6):
            enough = int(share * SERIES * SLICES)
            wait_until(lambda enough=enough: sum(len(s.acknowledged) for s in senders) > enough, most_s=300)
            node.kill()
            node.start()
        for sender in senders:
            sender.join()
        wait_until(lambda: len(set(archive.received)) == SERIES, most_s=300)
        assert node.stop() == 0
    finally:
        archive.close()
    check_all_is_there(config, plan, daily, senders)
    check_each_once(config, tmp_path / "ledger", archive)


def check_all_is_there(config: Path, plan: list[Dataset], daily: list[list[Dataset]], senders: list[Sender]) -> None:
    assert not any(sender.refusals for sender in senders)
    uids = [str(one.SOPInstanceUID) for one in [*plan, *(image for images in daily for image in images)]]
    assert set(uids) == {uid for sender in senders for uid in sender.acknowledged}
    spool = Spool(read_config(config).spool_folder)
    assert spool.held(uids) == set(uids)
    files = [file.stem for file in (spool.folder / "series").rglob("*.dcm")]
    assert Counter(files) == Counter(uids)
    assert not list((spool.folder / "aside").iterdir())
    spool.database.close()


def check_each_once(config: Path, ledger: Path, archive: Archive) -> None:
    """One job for each scan, done; of each the results of one attempt, whatever was begun before a kill. A run that a
    kill cut off after its end is run again, and so is a result sent again whose peer's answer was lost: at most as many
    as there were kills."""
    spool = Spool(read_config(config).spool_folder)
    jobs = spool.database.rows("SELECT state, daily_series_uid FROM jobs")
    assert Counter(row["state"] for row in jobs) == {"done": SERIES}
    assert len({row["daily_series_uid"] for row in jobs}) == SERIES
    deliveries = spool.database.rows("SELECT state FROM deliveries")
    assert Counter(row["state"] for row in deliveries) == {"sent": SERIES}
    spool.database.close()
    runs = Counter(ledger.read_text().split())
    assert len(runs) == SERIES and sum(runs.values()) <= SERIES + 2
    sent = Counter(archive.received)
    scans = Counter(uid.removeprefix(ROOT).split(".")[1] for uid in sent)
    assert len(sent) == SERIES and set(scans.values()) == {1}
    assert sum(sent.values()) <= SERIES + 2

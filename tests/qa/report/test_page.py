"""What the page of a fraction says, read as HTML by an independent parser."""

from __future__ import annotations

import base64
import hashlib
import json
import re
from collections.abc import Sequence
from dataclasses import replace
from functools import cache
from html.parser import HTMLParser
from typing import Any

import numpy as np

from recontour.qa.checks import RoiFacts, Verdict
from recontour.qa.fraction import DoseReport, Dvh, Fraction, GoalResult
from recontour.qa.manifest import OutputRecord, RoiRecord
from recontour.qa.report.page import fraction_page
from recontour.qa.review import ReviewRecord
from tests.qa.made_fraction import fraction, scan, without_field


class Reader(HTMLParser):
    """The elements with their attributes, and the text outside of style and script."""

    def __init__(self) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.parts: list[str] = []
        self.silent = ""

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        self.silent = tag if tag in ("style", "script") else self.silent

    def handle_endtag(self, tag: str) -> None:
        self.silent = "" if tag == self.silent else self.silent

    def handle_data(self, data: str) -> None:
        if not self.silent:
            self.parts.append(data)

    @property
    def text(self) -> str:
        return " ".join(" ".join(self.parts).split())


def read(html: str) -> Reader:
    reader = Reader()
    reader.feed(html)
    return reader


@cache
def page() -> str:
    return fraction_page(fraction())


def with_outputs(shown: Fraction) -> Fraction:
    outputs = (OutputRecord("rt struct.dcm", "ab" * 32), OutputRecord("reg.dcm", "cd" * 32))
    return replace(shown, manifest=replace(shown.manifest, outputs=outputs))


def with_roi(shown: Fraction, number: int, **facts: Any) -> Fraction:
    """The fraction with other facts of one ROI; verdict=Verdict(...) replaces its light and reasons."""
    rois = list(shown.rois)
    record = rois[number].record
    verdict = facts.pop("verdict", Verdict("pass"))
    base = {"name": record.name, "organ": record.organ, "before_ml": 10.0, "after_ml": 20.0}
    rois[number] = replace(rois[number], record=RoiRecord.of(RoiFacts(**{**base, **facts}), verdict))
    return replace(shown, rois=tuple(rois))


def dose_report(roi: str = "Bladder") -> DoseReport:
    gy = np.linspace(0.0, 80.0, 801)
    dvh = Dvh(roi, gy, np.clip(1 - gy / 60, 0, 1), np.clip(1 - gy / 40, 0, 1), 100.0, 120.0, covered=0.9)
    goals = (
        GoalResult(f"{roi} V40Gy < 25 %", roi, "%", 33.3, 0.0, False, True),
        GoalResult(f"{roi} D95 > 3 Gy", roi, "Gy", 3.0, 2.0, True, False),
    )
    return DoseReport(scan(0), (dvh,), goals, 60.0, ("The dose was placed by the alignment, not computed anew.",))


def row_of(html: str, roi: str) -> str:
    """The text of a row of the table of ROIs."""
    bodies = re.findall(r"<tbody data-roi=.*?</tbody>", html, re.S)
    return next(text for text in (read(body).text for body in bodies) if roi in text.split())


def test_the_verdict_and_the_gravest_reasons_come_first() -> None:
    text = read(page()).text
    assert "! Review" in text and "Structure set is UNAPPROVED: check every contour before use." in text
    assert text.index("Rectum: the image does not match after warping") < text.index("Contours")
    rows = re.findall(r'<tbody data-roi="(\d)"', page())
    assert rows == ["2", "0", "1"], "rectum (review) first, then the plan's order"


def test_a_row_gives_volumes_shift_surface_and_match() -> None:
    # Bladder: ball of 12 mm -> 15 mm, 2 mm up: 4/3 pi 1.2^3 = 7.24 ml, 4/3 pi 1.5^3 = 14.14 ml, (15/12)^3 = 1.953
    row = row_of(page(), "Bladder")
    for expected in ("7.2", "14.1", "+95 %", "2.0 S", "2.0 superior", "3.0", "4.5", "5.0", "0.93", "✓ Pass"):
        assert expected in row, expected
    assert "3.0 posterior" in row_of(page(), "Prostate") and "0.62" in row_of(page(), "Rectum")


def test_left_anterior_and_inferior_are_named() -> None:
    row = row_of(fraction_page(with_roi(fraction(), 0, shift_mm=(4.0, -1.5, -2.5))), "Bladder")
    assert all(words in row for words in ("4.0 left", "1.5 anterior", "2.5 inferior"))
    row = row_of(fraction_page(with_roi(fraction(), 0, shift_mm=(-4.0, 1.5, 0.0))), "Bladder")
    assert "4.0 right" in row and "1.5 posterior" in row


def test_the_agreement_of_both_paths_is_shown_where_there_are_two() -> None:
    assert "Paths apart" not in read(page()).text
    html = fraction_page(with_roi(fraction(), 0, disagreement_mm=3.4))
    assert "Paths apart" in read(html).text and "3.4" in row_of(html, "Bladder")


def test_an_organ_that_was_lost_has_no_shift_and_no_surface() -> None:
    lost = with_roi(fraction(), 1, after_ml=0.0, verdict=Verdict("reject", ("Nothing is left.",)))
    rois = list(lost.rois)
    nothing = replace(rois[1].daily, array=np.full_like(rois[1].daily.array, -1.0))
    rois[1] = replace(rois[1], daily=nothing, change=None)
    row = row_of(fraction_page(replace(lost, rois=tuple(rois))), "Prostate")
    assert "✗ Reject" in row and "−100 %" in row and "Nothing is left." in row and row.count("–") >= 6


def test_who_and_which_scans() -> None:
    text = read(page()).text
    assert "P-7f3a91c2" in text and "118 images" in text and "1.0 mm left, 2.0 mm anterior" in text
    assert "EXTERNAL : an outline of the body" in text
    assert "Doe, John" not in text
    named = replace(fraction(), identity="Doe, John", treated_on="2026-11-20", planned_on="2026-10-01")
    text = read(fraction_page(named)).text
    assert all(words in text for words in ("Doe, John", "P-7f3a91c2", "2026-11-20", "2026-10-01"))


def test_what_was_not_at_hand_is_said() -> None:
    html = fraction_page(without_field())
    assert "no registration file" in read(html).text
    assert "map:displacement" not in html.split("<script")[0] and "map:dose" not in html.split("<script")[0]


def test_every_word_of_the_input_stays_text() -> None:
    evil = "<script>alert(1)</script>\"><img src=x onerror=alert(1)>&'{{ 7*7 }}"
    shown = with_outputs(with_roi(fraction(), 0, name=evil, verdict=Verdict("review", (evil,))))
    manifest = replace(
        shown.manifest,
        reasons=(evil,),
        left_out={evil: evil},
        notes=(evil,),
        versions={evil: evil},
        settings={evil: {evil: evil}},
        seconds={evil: 1.0},
        outputs=(OutputRecord(evil, evil),),
        rois=tuple(picture.record for picture in shown.rois),
    )
    shown = replace(
        shown, manifest=manifest, pseudonym=evil, identity=evil, remarks=(evil,), treated_on=evil, planned_on=evil
    )
    shown = replace(shown, dose=dose_report(evil))
    html = fraction_page(shown, (ReviewRecord(evil, "2026-11-20T12:00:00+01:00", evil, "edit", evil, "ab" * 32),))
    found, plain = read(html), read(fraction_page(with_outputs(fraction())))
    assert evil in found.text
    scripts = [attrs for tag, attrs in found.tags if tag == "script"]
    assert len([attrs for attrs in scripts if "type" not in attrs]) == 1
    assert not [1 for tag, attrs in found.tags if tag == "img" and "src" in attrs]
    assert not [name for _, attrs in found.tags for name in attrs if name.startswith("on")]
    assert {tag for tag, _ in found.tags} - {tag for tag, _ in plain.tags} <= {"path", "line", "text", "caption"}
    facts = re.search(r'id="facts">(.*?)</script>', html, re.S)
    assert facts and json.loads(facts[1])["rois"][0]["name"] == evil


def test_the_page_loads_nothing_and_runs_one_script_only() -> None:
    html = fraction_page(with_outputs(replace(fraction(), dose=dose_report())))
    tags = read(html).tags
    policy = next(a["content"] for t, a in tags if t == "meta" and a.get("http-equiv") == "Content-Security-Policy")
    assert policy and policy.startswith("default-src 'none'") and "http" not in policy
    script = re.findall(r"<script>(.*?)</script>", html, re.S)
    assert len(script) == 1
    digest = base64.b64encode(hashlib.sha256(script[0].encode()).digest()).decode()
    assert f"script-src 'sha256-{digest}'" in policy
    linked = [str(a[name]) for _, a in tags for name in ("src", "href", "action", "data") if a.get(name)]
    assert all(value.startswith(("#", "data:")) for value in linked), linked
    assert not re.search(r"@import|url\(", html.split("</style>")[0])


def test_all_controls_are_buttons_or_fields_with_names() -> None:
    tags = read(fraction_page(with_outputs(fraction()))).tags
    assert all(tag == "button" and a["type"] == "button" for tag, a in tags if "data-act" in a)
    for tag, attrs in tags:
        if tag == "input" and attrs.get("type") in ("range", "text", "radio"):
            assert attrs.get("aria-label"), attrs
    identifiers = [a["id"] for _, a in tags if "id" in a]
    assert len(identifiers) == len(set(identifiers))


def test_dose_goals_and_histograms() -> None:
    html = fraction_page(replace(fraction(), dose=dose_report()))
    text = read(html).text
    assert "A clinical goal is not met today." in text[:400] and "A clinical goal" not in read(page()).text
    assert "not computed anew" in text and "Prescribed: 60 Gy" in text and "Bladder (90% in the dose)" in text
    goals = read(re.findall(r'<table class="goals">.*?</table>', html, re.S)[0]).text
    assert goals.index("D95") < goals.index("V40Gy"), "what is not met today comes first"
    assert "Bladder D95 > 3 Gy: not met today, 2.0 Gy; in the plan 3.0 Gy, met." in text[: text.index("Contours")]
    assert re.search(r"3\.0 Gy ✓ met 2\.0 Gy ✗ not met", text)
    assert re.search(r"33\.3 % ✗ not met 0\.0 % ✓ met", text)
    assert curve(html, "daily")[-1] == 0.0 and curve(html, "planned")[0] == 1.0
    # today 1 - D/40: half of it at 20 Gy; planned 1 - D/60: two thirds there
    for kind, share in (("daily", 0.5), ("planned", 2 / 3)):
        assert abs(at_dose(html, kind, 20.0) - share) < 0.005


def test_decisions_on_record_and_the_command_for_new_ones() -> None:
    assert "names no RTSTRUCT" in read(page()).text
    records = (
        ReviewRecord("M. Curie", "2026-11-20T12:00:00+01:00", "Bladder", "edit", "cranial rim", "ab" * 32),
        ReviewRecord("W. Roentgen", "2026-11-19T12:00:00+01:00", "", "accept", "", "ef" * 32),
    )
    html = fraction_page(with_outputs(fraction()), records)
    text = read(html).text
    assert "M. Curie Bladder edit cranial rim" in text
    assert "W. Roentgen whole fraction accept (of another RTSTRUCT)" in text
    assert "Decision none on the whole fraction yet" in text, "that of another RTSTRUCT does not count"
    whole = replace(records[1], decision="reject", rtstruct_sha256="ab" * 32)
    text_then = read(fraction_page(with_outputs(fraction()), (*records, whole))).text
    assert "Decision reject, W. Roentgen, 2026-11-19 12:00" in text_then
    assert "recontour review 'rt struct.dcm' --who INITIALS --from 'rt struct.decisions.json'" in text
    form = next(a for tag, a in read(html).tags if tag == "form")
    assert form["data-sha256"] == "ab" * 32
    names = [a["data-decide"] for _, a in read(html).tags if "data-decide" in a]
    assert names == ["", "Bladder", "Prostate", "Rectum"]


def curve(html: str, kind: str) -> list[float]:
    """The shares of a drawn curve, from its own frame."""
    return [share for _, share in _points(html, kind)]


def at_dose(html: str, kind: str, gy: float) -> float:
    doses, shares = zip(*_points(html, kind), strict=True)
    return float(np.interp(gy, doses, shares))


def _points(html: str, kind: str) -> Sequence[tuple[float, float]]:
    """(Gy, share) of a drawn curve: read off the frame and the ticks of the axes, as an eye would."""
    svg = re.search(r'<svg class="dvh".*?</svg>', html, re.S)
    assert svg
    frame = re.search(r'class="frame" x="([\d.]+)" y="([\d.]+)" width="([\d.]+)" height="([\d.]+)"', svg[0])
    assert frame
    _, top, _, height = (float(value) for value in frame.groups())
    marks = re.findall(r'<text x="([\d.]+)" y="[\d.]+" text-anchor="middle">(\d+)<', svg[0])
    (x0, g0), (x1, g1) = ((float(x), float(gy)) for x, gy in (marks[0], marks[-1]))
    path = re.search(rf'class="curve {kind}" stroke="#[^"]*" d="M([^"]*)"', svg[0])
    assert path
    pairs = [tuple(float(v) for v in point.split()) for point in path[1].split("L")]
    return [(g0 + (x - x0) * (g1 - g0) / (x1 - x0), 1 - (y - top) / height) for x, y in pairs]

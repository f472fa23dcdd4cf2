"""The two sheets as a reader of PDF finds them: words as text, contours as lines where they belong, nobody's name."""

from __future__ import annotations

from dataclasses import replace
from functools import cache

import numpy as np
import pytest
from reportlab.pdfbase.pdfmetrics import stringWidth

from recontour.geometry.grid import Grid
from recontour.qa.fraction import DoseReport, Dvh, Fraction, GoalResult
from recontour.qa.report.paper_dose import on_white
from recontour.qa.report.paper_pictures import worst_roi
from recontour.qa.report.paper_rois import shift_words, volume_words
from recontour.qa.report.pdf import UNAPPROVED, fraction_pdf
from tests.qa.made_fraction import REGION, ball, fraction, without_field
from tests.qa.report.pdf_text import Page, embedded_fonts, read_pages

EDGE = 12.0 * 72 / 25.4


@cache
def plain() -> bytes:
    return fraction_pdf(fraction({"Prostate": "reject"}))


def pages_of(made: Fraction) -> list[Page]:
    return read_pages(fraction_pdf(made))


def many(count: int, passed: int, reasons: int = 1, made: Fraction | None = None) -> Fraction:
    """Prostates by the dozen, all but the first without a shape; the last `passed` passed, the others have reasons."""
    made = made or fraction()
    why = ("The volume went from 4.2 to 8.1 ml, 1.93 times; 0.80 to 1.20 times is allowed.",) * reasons
    rois, nothing = [], ball((0.0, 0.0, 0.0), -9.0, Grid.of((3, 3, 3), (1, 1, 1), (0, 0, 100)))
    for number in range(count):
        fine = number >= count - passed
        record = replace(
            made.rois[1].record,
            name=f"Organ {number} mit Rand",
            light="pass" if fine else "reject",
            reasons=() if fine else why,
        )
        shapes = {} if number == 0 else {"planned": nothing, "daily": nothing}
        rois.append(replace(made.rois[1], record=record, **shapes))
    manifest = replace(made.manifest, rois=tuple(roi.record for roi in rois), light="reject")
    return replace(made, rois=tuple(rois), manifest=manifest)


def with_dose(goals: int = 2, curves: int = 1) -> Fraction:
    gy = np.array([0.0, 39.0, 78.0])
    dvhs = tuple(
        Dvh(f"Curve {k}" if k else "Rectum", gy, np.array([1, 0.5, 0.0]), np.array([1, 0.8, 0.1]), 1, 1, 0.93)
        for k in range(curves)
    )
    asked = tuple(GoalResult(f"Rectum V{k}Gy < 15 %", "Rectum", "%", 12.25, 18.75, True, k != 0) for k in range(goals))
    dose = DoseReport(fraction().fixed, dvhs, asked, 78.0, ("The dose was placed, not computed anew.",))
    return replace(fraction(), dose=dose)


def test_two_pages_that_say_what_they_are() -> None:
    assert plain().startswith(b"%PDF-")
    assert plain().count(b"/MediaBox [ 0 0 595.2756 841.8898 ]") == 2
    found = read_pages(plain())
    assert len(found) == 2
    for number, page in enumerate(found, start=1):
        assert UNAPPROVED == "UNAPPROVED: check every contour before use"
        assert UNAPPROVED in page.words
        assert f"page {number} of 2" in page.words
        assert "P-7f3a91c2   written 2026-11-20T10:11:12+01:00" in page.words


def test_the_first_page_has_what_decides() -> None:
    words = read_pages(plain())[0].words
    for said in (
        "REJECT",
        "Do not use what is rejected.",
        "Of 3 ROIs: 1 rejected, 1 to be reviewed, 1 passed.",
        "Rejected: Prostate. To be reviewed: Rectum.",
        "daily to planning 1.0 mm left, 2.0 mm anterior, 0.5 mm superior",
        "7.2 -> 14.1 (+95 %)",
        "3.0 posterior",
        "2.0 superior",
        "the image does not match after warping (0.62, limit 0.70)",
        "3.0 / 4.5 / 5.0",
    ):
        assert said in words
    named = [words.index(f"\n{name}\n") for name in ("Prostate", "Rectum", "Bladder")]
    assert named == sorted(named), "the gravest first"


def test_the_second_page_has_origin_and_what_is_missing() -> None:
    words = read_pages(plain())[1].words
    for said in (
        "Prostate (reject) where its surface changed most: 3.0 mm",
        "No dose was given",
        "Not brought over: EXTERNAL (an outline of the body)",
        "recontour 0.0.0, python 3.11.2",
        "Daily scan: study 1.2.4, series 1.2.4.1, frame 1.2.4.9",
        "Planning structure set: 1.2.3.2",
    ):
        assert said in words
    assert "No displacement field was at hand." not in words
    assert "No displacement field was at hand." in pages_of(without_field())[1].words
    assert "no registration file" in pages_of(without_field())[1].words


def test_a_name_only_where_it_was_asked_for() -> None:
    assert "Doe" not in read_pages(plain())[0].words
    assert "()" not in read_pages(plain())[0].words
    asked = pages_of(replace(fraction(), identity="Doe John, 1234"))
    assert "P-7f3a91c2 (Doe John, 1234)" in asked[0].words
    assert b"Doe" not in fraction_pdf(replace(fraction(), identity="Doe John"))[-3000:], "not in the file's own title"


def test_the_same_fraction_gives_the_same_bytes() -> None:
    assert fraction_pdf(fraction({"Prostate": "reject"})) == plain()


def test_every_font_is_in_the_file() -> None:
    embedded, missing = embedded_fonts(plain())
    assert embedded >= 2
    assert missing == 0


def test_words_are_not_pictures() -> None:
    first, second = read_pages(plain())
    assert first.pictures == []
    assert len(second.pictures) == 5, "three views, the displacement and its scale"


def rings(page: Page, picture: int) -> dict[str, list[np.ndarray]]:
    """The contours in a picture, (N, 2) points from the lower left, by the ball they can only be: by their width
    against the scale bar's 20 mm. The planes go through (0, 8, 128), the top of the daily prostate."""
    view = page.pictures[picture]
    paths = [np.array(path) for path in page.paths]
    bars = [p for p in paths if len(p) == 2 and p[0, 1] == p[1, 1] and 40 < abs(p[1, 0] - p[0, 0]) < 120]
    bar = float(abs(bars[0][1, 0] - bars[0][0, 0]))
    out: dict[str, list[np.ndarray]] = {"Bladder": [], "Prostate": [], "Rectum": []}
    for path in paths:
        middle, size = (path.max(axis=0) + path.min(axis=0)) / 2, np.ptp(path, axis=0) / bar * 20.0
        inside = 0 < middle[0] - view.left < view.width and 0 < middle[1] - view.bottom < view.height
        if len(path) > 20 and inside and abs(size[0] - size[1]) < 0.2:
            near = {"Bladder": (18.0, 28.28), "Prostate": (20.0,), "Rectum": (12.65, 11.49)}
            for name, wide in near.items():
                if min(abs(size[0] - w) for w in wide) < 0.15:
                    out[name].append(path)
    return out


def middle_of(contour: np.ndarray) -> np.ndarray:
    return (contour.max(axis=0) + contour.min(axis=0)) / 2


def test_the_axial_view_is_seen_from_the_feet() -> None:
    """The bladder is anterior and to the patient's right of the rectum: above it, and to the viewer's left."""
    page = read_pages(plain())[1]
    found = rings(page, 0)
    bladder, rectum = middle_of(found["Bladder"][0]), middle_of(found["Rectum"][0])
    assert bladder[1] > rectum[1] + 20 and bladder[0] < rectum[0] - 5
    view = page.pictures[0]
    letters = {t: (x, y) for x, y, size, t in page.texts if size == 9.0 and view.left <= x <= view.left + view.width
               and view.bottom <= y <= view.bottom + view.height}  # fmt: skip
    assert letters["R"][0] < letters["L"][0] and letters["A"][1] > letters["P"][1]


def test_the_picture_is_below_its_contours() -> None:
    """Gas, -300 HU, is black; the bladder, 10 HU, is (10 + 160) / 400 of white."""
    page = read_pages(plain())[1]
    for picture in (0, 3):
        assert page.pictures[picture].pixels.shape[:2] == (472, 717), "200 dots per inch of 91 x 60 mm"
    found = rings(page, 0)
    view = page.pictures[0]
    assert view.at(*middle_of(found["Rectum"][0])) == 0
    assert view.at(*middle_of(found["Bladder"][0])) == pytest.approx(108, abs=1)
    edge = found["Bladder"][-1]
    outside = middle_of(edge) + 1.15 * (edge[0] - middle_of(edge))
    assert view.at(*outside) > 115, "the background is 40 HU"


def test_the_sagittal_view_has_anterior_at_the_left() -> None:
    """On it the planned prostate lies 3 mm anterior of the daily one, the rectum behind, the head end is up."""
    page = read_pages(plain())[1]
    found = rings(page, 1)
    across = sorted({round(float(middle_of(p)[0]), 1) for p in found["Prostate"]})
    assert len(across) == 2
    width = float(np.ptp(found["Prostate"][0][:, 0]))  # 20 mm
    assert (across[1] - across[0]) / width * 20.0 == pytest.approx(3.0, abs=0.1)
    rectum = middle_of(found["Rectum"][0])
    assert rectum[0] > across[1] + 20
    assert rectum[1] > middle_of(found["Prostate"][0])[1] + 5, "7 mm more to the head"
    assert (1.0, 0.0, 0.0) in page.colours, "the plan's red"


def test_arrows_lead_to_where_tissue_went() -> None:
    """All of it went 3 mm to the back, which is down on the axial view."""
    page = read_pages(plain())[1]
    view = page.pictures[3]
    shafts = [
        p for p in map(np.array, page.paths)
        if len(p) == 2 and p[0, 0] == pytest.approx(p[1, 0]) and abs(p[1, 1] - p[0, 1]) > 1
        and 0 < p[0, 0] - view.left < view.width and 0 < p[0, 1] - view.bottom < view.height
    ]  # fmt: skip
    assert len(shafts) > 20
    assert all(p[1, 1] < p[0, 1] for p in shafts)
    heads = [p for p in map(np.array, page.paths) if len(p) == 3 and 0 < p[0, 0] - view.left < view.width
             and 0 < p[0, 1] - view.bottom < view.height and p[1, 1] == pytest.approx(p[2, 1])]  # fmt: skip
    assert len(heads) >= len(shafts) - 5 and all(p[0, 1] < p[1, 1] for p in heads)


def test_thirty_rois_fit() -> None:
    first, second = pages_of(many(30, passed=10))
    for number in range(30):
        assert f"Organ {number} mit Rand\n" in first.words
    assert "see the page" not in first.words.split("Looked at by")[0].split("Light")[1]
    assert len(second.pictures) == 5


def test_what_does_not_fit_is_counted_those_that_passed_first() -> None:
    first, _ = pages_of(many(60, passed=40, reasons=2))
    shown = sum(f"Organ {number} mit" in first.words for number in range(20, 60))
    assert all(f"Organ {number} mit" in first.words for number in range(20)), "no rejected one is cut"
    assert 0 < shown < 40
    assert f"and {40 - shown} more that passed: see the page" in first.words
    table = pages_of(many(90, passed=5, reasons=4))[0].words.split("Light")[1]
    shown = sum(f"Organ {number} mit" in table for number in range(85))
    assert f"AND {85 - shown} MORE THAT DID NOT PASS, 5 that passed: see the page" in table


@pytest.mark.parametrize("made", [many(60, 40, 2), many(30, 0, 5), with_dose(40, 30)], ids=["many", "grave", "dose"])
def test_nothing_runs_over_the_edge(made: Fraction) -> None:
    long = replace(
        made.manifest,
        reasons=("A reason that is long enough to need its space on the sheet.",) * 30,
        left_out={f"ROI {k}": "was asked for and could not be brought over" for k in range(50)},
        notes=("A" * 300, *("a note on what was mended",) * 40),
    )
    for page in pages_of(replace(made, manifest=long)):
        for x, y, size, text in page.texts:
            bold = stringWidth(text, "RecontourSans-Bold", size)
            assert EDGE - 1 <= x <= 595.3 - EDGE + 1, text
            assert x + min(bold, stringWidth(text, "RecontourSans", size)) <= 595.3 - EDGE + 1, text
            assert 15 < y < 841.9 - 15, text


def test_letters_of_europe_and_beyond() -> None:
    made = fraction()
    names = "Blase_groß_Übergang", "Vessie à gauche", "Žlučník", "Pęcherz", "Мочевой", "ROI→1"
    rois = tuple(replace(made.rois[0], record=replace(made.rois[0].record, name=name)) for name in names)
    words = pages_of(replace(made, rois=rois))[0].words
    assert "Blase_groß_Übergang" in words.replace("\n", "")
    assert "Vessie à gauche" in words
    assert "Žlučník" in words
    assert "Pecherz" in words, "the letter without the accent that is not in the font"
    assert "???????" in words
    assert "A ? or a letter without its accent stands for one that this paper's font lacks" in words
    assert "font lacks" not in read_pages(plain())[0].words


def test_dose_then_and_now() -> None:
    words = pages_of(with_dose())[1].words
    for said in (
        "Rectum V0Gy < 15 %",
        "12.2 % met",
        "18.8 % NOT MET",
        "18.8 % met",
        "The dose was placed, not computed anew.",
        "93 % of it in the dose grid",
        "78 Gy, prescribed",
    ):
        assert said in words
    crowded = pages_of(with_dose(goals=40, curves=30))[1].words
    assert "18 more ROIs: see the page" in crowded
    assert "more, 0 not met: see the page" in crowded, "the missed one stands first"
    assert crowded.count("NOT MET") == 1


def test_a_lost_organ_is_looked_at_first() -> None:
    made = fraction({"Rectum": "reject"})
    lost = replace(made.rois[1], daily=ball((0.0, 0.0, 120.0), -50.0), change=None)
    lost = replace(lost, record=replace(lost.record, light="reject", after_ml=0.0))
    made = replace(made, rois=(made.rois[0], lost, made.rois[2]))
    assert worst_roi(made.rois) is lost
    first, second = pages_of(made)
    assert "4.2 -> 0.0 (-100 %)" in first.words
    assert "Prostate (reject): nothing is left of it" in second.words


def test_no_roi_at_all() -> None:
    made = replace(fraction(), rois=())
    assert "No ROI was brought over" in pages_of(made)[1].words


def test_words_of_the_table() -> None:
    record = fraction().rois[0].record
    assert volume_words(replace(record, before_ml=124.0, after_ml=210.0)) == "124.0 -> 210.0 (+69 %)"
    assert volume_words(replace(record, before_ml=0.0, after_ml=1.0)) == "0.0 -> 1.0"
    assert shift_words(replace(record, shift_mm=(-1.25, 3.0, 0.04))) == ("1.2 right", "3.0 posterior", "0")


def test_yellow_is_darker_on_white() -> None:
    assert on_white((0, 0, 255)) == (0, 0, 255)
    red, green, blue = on_white((255, 255, 0))
    assert red == green and 100 < red < 170 and blue == 0


def test_the_region_bounds_what_is_sampled() -> None:
    assert REGION.is_axial(), "what the pictures assume of a region"


def test_what_was_not_finite_is_a_dash() -> None:
    """A manifest that was read from its file has None there."""
    made = fraction()
    record = replace(made.rois[0].record, disagreement_mm=float("inf"), shift_mm=(0.0, float("nan"), None))
    assert shift_words(record) == ("0", "-", "-")
    assert volume_words(replace(record, after_ml=None)) == "7.2 -> -"
    alignment = replace(made.manifest.alignment, rotation_degrees=None, scale=float("nan"))
    manifest = replace(made.manifest, alignment=alignment)
    words = pages_of(replace(made, rois=(replace(made.rois[0], record=record),), manifest=manifest))[0].words
    assert "turned by - degrees; scale -" in words.replace("\n", " ")

"""The course page: numbers where they belong, outliers by a rule worked by hand, one patient, no word to the net."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest

from recontour.errors import PatientMismatch, UsageError
from recontour.qa.fraction import GoalResult
from recontour.qa.manifest import Manifest, OutputRecord
from recontour.qa.report.charts import BOTTOM, HEIGHT, LEFT, TOP, WIDTH, Reading, chart
from recontour.qa.report.course import CourseEntry, course_page
from recontour.qa.report.unusual import unusual
from recontour.qa.review import ReviewRecord
from tests.qa.made_fraction import fraction

CHROMIUM = Path("/usr/bin/chromium")


PLANNED = fraction({"Rectum": "pass"}).manifest


def manifest(volumes: dict[str, float], shifts: dict[str, tuple[float, float, float]] | None = None) -> Manifest:
    """Bladder, prostate and rectum as planned, but for what is given."""
    rois = tuple(
        replace(
            roi,
            after_ml=volumes.get(roi.name, roi.before_ml),
            shift_mm=(shifts or {}).get(roi.name, (0.0, 0.0, 0.0)),
        )
        for roi in PLANNED.rois
    )
    return replace(PLANNED, rois=rois)


def course(rectum_ml: list[float], **values: Any) -> list[CourseEntry]:
    """A fraction for each volume of the rectum, on the days from the 1st of November."""
    return [
        CourseEntry(
            f"2026-11-{day:02d}", "P-7f3a91c2", manifest({"Rectum": ml}), page=f"day {day}/report.html", **values
        )
        for day, ml in enumerate(rectum_ml, start=1)
    ]


class Read(HTMLParser):
    """Tags with their attributes, and the text of each table row."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.rows: list[list[str]] = []
        self.text = ""
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        if tag == "tr":
            self.rows.append([])
        if tag in ("td", "th"):
            self.rows[-1].append("")

    def handle_data(self, data: str) -> None:
        self.text += data
        if self.rows and self.rows[-1]:
            self.rows[-1][-1] = " ".join(f"{self.rows[-1][-1]} {data}".split()).replace(" :", ":")

    def all(self, tag: str, name: str) -> list[str]:
        return [str(found[name]) for kind, found in self.tags if kind == tag and name in found]


def test_unusual_by_hand() -> None:
    """Medians 11 and 10; the absolute deviations' medians are both 1, so that three spreads are 4.45."""
    assert unusual([9.0, 10.0, 11.0, 12.0, 19.0, 10.0, 11.0], 0.1) == [False] * 4 + [True] + [False] * 2
    assert unusual([9.0, 10.0, 11.0, 14.5, 10.0, 10.0, 11.0, 9.0], 0.1)[3]
    assert not unusual([9.0, 10.0, 11.0, 14.4, 10.0, 10.0, 11.0, 9.0], 0.1)[3]
    assert unusual([9.0, 10.0, 11.0, 5.5, 10.0, 10.0, 11.0, 9.0], 0.1)[3], "below, too"


def test_values_that_hardly_differ_are_usual() -> None:
    assert unusual([1.0] * 6 + [1.2], 0.5) == [False] * 7
    assert unusual([1.0] * 6 + [2.6], 0.5) == [False] * 6 + [True]


def test_few_values_tell_nothing() -> None:
    assert unusual([1.0, 1.0, 1.0, 99.0], 0.1) == [False] * 4
    assert unusual([1.0, None, 1.0, float("nan"), 1.0, 1.0, 99.0], 0.1) == [False] * 6 + [True]
    assert unusual([1.0, None, 1.0, float("nan"), 99.0], 0.1) == [False] * 5


def test_a_chart_puts_values_to_scale() -> None:
    made = chart("v", [Reading(v, "pass", "") for v in (0.0, 10.0, None, 5.0, 5.0)], planned=0.0, around_zero=True)
    assert [dot.x for dot in made.dots] == sorted(dot.x for dot in made.dots)
    assert made.dots[0].x > LEFT and made.dots[-1].x < WIDTH
    middle = TOP + (HEIGHT - TOP - BOTTOM) / 2
    assert made.dots[0].y == made.planned_y == pytest.approx(middle)
    ten, five = middle - made.dots[1].y, middle - made.dots[2].y
    assert ten == pytest.approx(2 * five, abs=0.15) and ten > 0, "up is more"
    assert len(made.lines) == 2, "broken where a value is missing"
    assert made.dots[2].x - made.dots[1].x == pytest.approx(2 * (made.dots[1].x - made.dots[0].x), abs=0.2)
    at = {tick.text: tick.at for tick in made.y_ticks}
    assert at["0"] == pytest.approx(middle)
    assert at["10"] == pytest.approx(made.dots[1].y)


def test_a_chart_of_nothing_or_one() -> None:
    assert chart("v", [Reading(None, "pass", "")]).says.endswith("no values. None stands out.")
    (dot,) = chart("v", [Reading(3.0, "pass", "")]).dots
    assert LEFT < dot.x < WIDTH and TOP <= dot.y <= HEIGHT - BOTTOM


def test_what_stands_out_is_said_with_its_rule() -> None:
    planned = PLANNED.rois[2].before_ml
    read = Read(course_page(course([planned, planned * 1.05, planned * 0.95, planned * 1.9, planned, planned * 3.2])))
    last = next(row for row in read.rows if row[0] == "6" and len(row) == 7)
    assert "Rectum volume unusual for this course" in last[4]
    assert "Rectum volume beyond the limits (0.33 to 3 times the planned one)" in last[4]
    fourth = next(row for row in read.rows if row[0] == "4" and len(row) == 7)
    assert fourth[4] == "Rectum volume unusual for this course", "within the limits, but not like the others"
    assert [row[4] for row in read.rows if row[0] == "2" and len(row) == 7] == ["–"]
    rings = [found for kind, found in read.tags if kind == "circle" and found.get("class") == "ring"]
    assert len(rings) == 2
    assert "more than 3 spreads from the median" in read.text


def test_shift_beyond_the_limit_is_marked_on_its_main_axis() -> None:
    entry = CourseEntry("2026-11-01", "P-1", manifest({}, {"Prostate": (3.0, 14.0, -2.0)}))
    read = Read(course_page([entry]))
    assert "Prostate shift beyond the limit (12 mm)" in read.text
    labels = [label for label in read.all("svg", "aria-label") if "Standing out" in label]
    assert len(labels) == 1 and labels[0].startswith("Shift ant / post") and "14.0 mm posterior" in labels[0]
    assert "With fewer than 5 fractions, as here," in read.text


def test_the_runs_own_limits_count() -> None:
    made = manifest({}, {"Prostate": (0.0, 14.0, 0.0)})
    qa = {"prostate": {"shift_review_mm": 20.0, "shift_reject_mm": 30.0}}
    assert "beyond the limit (" not in course_page([CourseEntry("", "P-1", replace(made, settings={"qa": qa}))])
    older = {**qa, "overlap_review_ml": 0.5}  # a limit that is no more
    assert "beyond the limit (" not in course_page([CourseEntry("", "P-1", replace(made, settings={"qa": older}))])
    unknown = replace(made, settings={"qa": {"no such": 1}})
    assert "beyond the limit (12 mm)" in course_page([CourseEntry("", "P-1", unknown)])


def test_order_links_and_missing_rois() -> None:
    entries = course([1.4, 1.5, 1.6])
    gone = replace(entries[1].manifest, rois=entries[1].manifest.rois[:2])
    entries[1] = replace(entries[1], manifest=gone, page="")
    read = Read(course_page([entries[2], entries[0], entries[1]]))
    dates = [row[1] for row in read.rows if len(row) == 7][1:]
    assert dates == ["2026-11-01", "2026-11-02", "2026-11-03"]
    assert "no report" in [row[6] for row in read.rows if len(row) == 7]
    assert "day 1/report.html" in read.all("a", "href") and "day 2/report.html" not in read.all("a", "href")
    rectum = [row for row in read.rows if len(row) == 5][-3:]
    assert [row[2] for row in rectum] == ["1.4", "–", "1.6"]


def test_goals_over_time() -> None:
    goal = GoalResult("Rectum V70Gy < 15 %", "Rectum", "%", 12.0, 13.0, True, True)
    entries = course([1.4, 1.4, 1.4])
    entries[0] = replace(entries[0], goals=(goal,))
    entries[2] = replace(entries[2], goals=(replace(goal, daily=18.5, met_now=False),))
    read = Read(course_page(entries))
    assert "met in 1 of 2; met in the plan" in read.text
    assert [row[4] for row in read.rows if len(row) == 7][1:] == ["–", "–", "Rectum V70Gy < 15 %: not met"]
    assert any("18.5 %" in label for label in read.all("svg", "aria-label"))
    assert "Clinical goals" not in course_page(course([1.4]))


def test_what_the_reviewer_decided_on_this_very_result() -> None:
    ours, other = "ab" * 32, "cd" * 32
    first = ReviewRecord("mk", "2026-11-20T10:11:12+01:00", "Bladder", "reject", "", ours)
    records = (
        first,
        replace(first, decision="edit", comment="<b>Kuppel</b>", when="2026-11-20T11:00:00+01:00"),
        replace(first, roi="Rectum", rtstruct_sha256=other),
        replace(first, roi="", decision="accept", who="Ö"),
    )
    (entry,) = course([1.4], review=records)
    entry = replace(entry, manifest=replace(entry.manifest, outputs=(OutputRecord("rt.dcm", ours),)))
    read = Read(course_page([entry]))
    said = [row[5] for row in read.rows if len(row) == 7][1]
    assert "edit: Bladder (<b>Kuppel</b>) mk, 2026-11-20 11:00" in said
    assert "accept: the whole fraction Ö" in said
    assert "reject" not in said and "Rectum" not in said
    assert "not reviewed" in course_page(course([1.4]))


def test_one_patient_only() -> None:
    entries = course([1.4, 1.5])
    with pytest.raises(PatientMismatch, match=r"P-1, P-7f3a91c2"):
        course_page([entries[0], replace(entries[1], pseudonym="P-1")])
    with pytest.raises(UsageError, match="no fractions"):
        course_page([])


def test_lights_have_words_and_shapes() -> None:
    entries = [replace(e, manifest=replace(e.manifest, light=light)) for e, light in zip(
        course([1.4, 1.5, 1.6]), ("pass", "review", "reject"), strict=True
    )]  # fmt: skip
    read = Read(course_page(entries))
    for word in ("1 ✓ pass", "2 ! review", "3 ✗ reject"):
        assert word in read.text
    assert "UNAPPROVED" in read.text


def test_names_cannot_break_the_page() -> None:
    made = manifest({})
    odd = replace(made, rois=(replace(made.rois[0], name='<script>alert(1)</script>"Ö'),))
    page = course_page([CourseEntry("", "P-1", odd)])
    assert "<script" not in page
    assert '<script>alert(1)</script>"Ö' in Read(page).text


def test_nothing_is_fetched() -> None:
    page = course_page(course([1.4, 1.5]))
    assert not re.search(
        r"(src|@import|url\()", page.split("</head>")[0].replace("default-src", "").replace("style-src", "")
    )
    assert "http" not in page.replace('http-equiv="Content-Security-Policy"', "")
    assert "<script" not in page and len(page) < 200_000


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    playwright = pytest.importorskip("playwright.sync_api")
    if not CHROMIUM.exists():
        pytest.skip("no browser at hand")
    with playwright.sync_playwright() as running:
        yield running.chromium.launch(executable_path=str(CHROMIUM), args=["--no-sandbox"])


@pytest.mark.parametrize(("width", "scheme"), [(1024, "light"), (2560, "dark")])
def test_in_a_browser(browser: Any, tmp_path: Path, width: int, scheme: str) -> None:
    entries = course([1.4, 1.5, 1.6, 1.5, 1.4, 5.0] * 5)
    entries[3] = replace(entries[3], page="")
    (tmp_path / "course.html").write_text(course_page(entries), encoding="utf-8")
    page = browser.new_page(viewport={"width": width, "height": 900}, color_scheme=scheme)
    requests, errors = [], []
    page.on("request", lambda request: requests.append(request.url))
    page.on("console", lambda message: errors.append(message.text))
    page.goto((tmp_path / "course.html").as_uri())
    assert (len(requests), errors) == (1, [])
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    dark = page.evaluate("getComputedStyle(document.body).backgroundColor")
    assert (dark == "rgb(20, 24, 28)") == (scheme == "dark")
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.textContent") == "To the table of fractions"
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.getAttribute('href')") == "day 1/report.html"
    dots = page.locator("svg a:focus, svg a")
    dots.first.focus()
    assert page.evaluate("document.activeElement.getAttribute('aria-label')").startswith("fraction 1, 2026-11-01")
    page.close()


def test_what_was_not_finite_is_left_out() -> None:
    made = manifest({"Prostate": float("nan")}, {"Rectum": (0.0, float("nan"), 1.0), "Bladder": (None, 0.0, 0.0)})
    page = course_page([CourseEntry("", "P-1", made)])
    assert "nan" not in page.replace("numeric", "").lower() and "not known" in page

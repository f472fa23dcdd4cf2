"""The page in a real browser: Debian's chromium, opened from disk. Pixels, controls, layouts, and no request."""

from __future__ import annotations

import io
import json
import os
import shutil
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image
from playwright.sync_api import Browser, Page, sync_playwright

from recontour.qa.fraction import Fraction
from recontour.qa.manifest import OutputRecord
from recontour.qa.report.page import fraction_page
from tests.qa.made_fraction import BALLS, REGION, fraction, scan
from tests.qa.report.test_page import dose_report

CENTRE = {name: row[1] for name, row in BALLS.items()}
VIEWS = {"axial": 2, "coronal": 1, "sagittal": 0}  # the LPS axis that is scrolled


def shown() -> Fraction:
    """The made fraction with a dose that falls by 1 Gy a mm from 60 Gy in the middle, and an RTSTRUCT's name."""
    made = fraction()
    distance = np.linalg.norm(REGION.points() - CENTRE["Prostate"], axis=-1)
    report = dose_report()
    report = replace(report, dose=replace(scan(0), array=np.clip(60 - distance, 0, None).astype(np.float32)))
    manifest = replace(made.manifest, outputs=(OutputRecord("rtstruct.dcm", "ab" * 32),))
    return replace(made, dose=report, manifest=manifest)


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    chromium = shutil.which("chromium")
    if chromium is None:
        (pytest.fail if os.environ.get("CI") else pytest.skip)("no chromium: sudo apt-get install chromium")
    with sync_playwright() as player:
        opened = player.chromium.launch(executable_path=chromium, args=["--no-sandbox"])
        yield opened
        opened.close()


@pytest.fixture(scope="module")
def file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("report") / "report.html"
    path.write_text(fraction_page(shown()), encoding="utf-8")
    return path


@pytest.fixture(scope="module")
def opened(browser: Browser, file: Path) -> Iterator[Callable[..., Page]]:
    """Opens the page anew; at the end every script error, message and request of all of them is judged."""
    bad: list[str] = []
    asked: list[str] = []
    contexts: list[Any] = []

    def new(path: Path = file, **options: Any) -> Page:
        context = browser.new_context(**{"viewport": {"width": 1400, "height": 1000}, **options})
        contexts.append(context)
        page = context.new_page()
        page.on("console", lambda message: bad.append(message.text))
        page.on("pageerror", lambda error: bad.append(str(error)))
        page.on("request", lambda request: asked.append(request.url))
        page.goto(path.as_uri())
        page.evaluate("recontour.ready")
        settle(page)
        return page

    yield new
    for context in contexts:
        context.close()
    assert not bad
    assert all(url.startswith(("file:", "blob:")) for url in asked) and {u for u in asked if u[:5] == "file:"} <= {
        file.as_uri()
    }


@pytest.fixture(scope="module")
def shared(opened: Callable[..., Page]) -> Page:
    return opened()


@pytest.fixture
def page(shared: Page) -> Page:
    """The page as it was opened, without opening it again."""
    shared.set_viewport_size({"width": 1400, "height": 1000})
    shared.reload()
    shared.evaluate("recontour.ready")
    settle(shared)
    return shared


def settle(page: Page) -> None:
    page.evaluate("() => new Promise((go) => requestAnimationFrame(() => requestAnimationFrame(go)))")


def state(page: Page) -> dict[str, Any]:
    return page.evaluate("recontour.state()")


def click(page: Page, act: str) -> None:
    page.click(f'button[data-act="{act}"]')
    settle(page)


def press(page: Page, key: str, view: str = "axial") -> None:
    page.locator(f"#canvas-{view}").press(key)
    settle(page)


def pixels(page: Page) -> NDArray[np.uint8]:
    return np.asarray(Image.open(io.BytesIO(page.screenshot())).convert("RGB"))


def place(page: Page, view: str, mm: tuple[float, float, float]) -> tuple[float, float]:
    x, y = page.evaluate("([view, mm]) => recontour.place(view, mm)", [view, mm])
    return x, y


def colour_at(page: Page, view: str, mm: tuple[float, float, float], image: NDArray[np.uint8]) -> NDArray[np.int64]:
    x, y = place(page, view, mm)
    return image[int(y), int(x)].astype(np.int64)


def go_to(page: Page, mm: tuple[float, float, float]) -> None:
    """Three clicks put the crosshair there: on the axial view x and y, on the coronal one z."""
    page.evaluate("document.getElementById('views').scrollIntoView({block: 'center', behavior: 'instant'})")
    for view in ("axial", "coronal"):
        page.mouse.click(*place(page, view, mm))
    settle(page)
    assert np.abs(np.subtract(state(page)["mm"], mm)).max() <= 0.51


def rim(name: str, view: str, which: int, angle: float) -> tuple[float, float, float]:
    """A place on the ball's outline, in the slice through its daily (which=1) or planned (0) centre."""
    then, now, radius_then, radius_now, _, _ = BALLS[name]
    out, radius = list(now if which else then), radius_now if which else radius_then
    axes = [k for k in range(3) if k != VIEWS[view]]
    out[axes[0]] += radius * np.cos(angle)
    out[axes[1]] += radius * np.sin(angle)
    return out[0], out[1], out[2]


def reddest(page: Page, view: str, mm: tuple[float, float, float], reach: float, image: NDArray[np.uint8]) -> float:
    """Pixels from a place to the nearest pure red one (the prostate's colour), infinite beyond `reach`."""
    x, y = place(page, view, mm)
    n = int(reach) + 1
    part = image[int(y) - n : int(y) + n + 1, int(x) - n : int(x) + n + 1].astype(int)
    rows, columns = np.nonzero((part[..., 0] > 200) & (part[..., 1] < 60) & (part[..., 2] < 60))
    if not len(rows):
        return float("inf")
    nearest = float(np.hypot(rows + int(y) - n + 0.5 - y, columns + int(x) - n + 0.5 - x).min())
    return nearest if nearest <= reach else float("inf")


def pixels_per_mm(page: Page, view: str) -> float:
    a, b = place(page, view, (0.0, 0.0, 118.0)), place(page, view, (10.0, 10.0, 128.0))
    return abs(b[0] - a[0]) / 10


@pytest.mark.parametrize("view", VIEWS)
def test_the_contour_on_the_screen_is_the_ball(page: Page, view: str) -> None:
    click(page, "toggle:crosshair")
    click(page, "toggle:planned")
    go_to(page, CENTRE["Prostate"])
    image, scale = pixels(page), pixels_per_mm(page, view)
    for angle in np.arange(0.1, 2 * np.pi, 0.4):
        assert reddest(page, view, rim("Prostate", view, 1, angle), 20, image) <= 0.3 * scale + 1.0, angle
    assert reddest(page, view, CENTRE["Prostate"], 8.0 * scale, image) == float("inf"), "nothing inside"
    x, y = place(page, view, rim("Prostate", view, 1, 0.0))  # where the outline runs up and down
    across = image[int(y), int(x) - 12 : int(x) + 13].astype(int)
    assert 1.4 < (across[:, 0] - across[:, 1]).clip(0).sum() / 255 < 3, "two pixels thick in every view"


def test_planned_contours_are_dashed_and_where_the_plan_has_them(page: Page) -> None:
    click(page, "toggle:crosshair")
    click(page, "toggle:daily")
    go_to(page, CENTRE["Prostate"])
    image, scale = pixels(page), pixels_per_mm(page, "axial")
    near = [reddest(page, "axial", rim("Prostate", "axial", 0, a), 25, image) for a in np.arange(0, 6.28, 0.05)]
    drawn = np.array(near) <= 1.2
    assert 0.4 < drawn.mean() < 0.95, "with gaps"
    assert max(near) <= 0.3 * scale + 6, "of a few pixels, along the ball"


def test_orientation_is_that_of_radiologists(page: Page) -> None:
    left, right = (40.0, 5.0, 118.0), (-40.0, 5.0, 118.0)
    assert place(page, "axial", left)[0] > place(page, "axial", right)[0], "patient's left on the right"
    assert place(page, "coronal", left)[0] > place(page, "coronal", right)[0]
    front, back = (0.0, -20.0, 118.0), (0.0, 30.0, 118.0)
    assert place(page, "axial", front)[1] < place(page, "axial", back)[1]
    assert place(page, "sagittal", front)[0] < place(page, "sagittal", back)[0]
    low, high = (0.0, 5.0, 105.0), (0.0, 5.0, 150.0)
    for view in ("coronal", "sagittal"):
        assert place(page, view, high)[1] < place(page, view, low)[1]
    marks = page.locator("#view-axial .mark").all_inner_texts()
    assert marks == ["R", "L", "A", "P"]
    assert page.locator("#view-sagittal .mark").all_inner_texts() == ["A", "P", "S", "I"]


def test_windows_show_the_hu_that_there_are(page: Page) -> None:
    click(page, "toggle:crosshair")
    go_to(page, CENTRE["Rectum"])  # gas of -300 HU, in 40 HU
    gas, flesh = CENTRE["Rectum"], (-25.0, 10.0, 125.0)  # 40 - 12.5 HU
    windows = {"soft": (40, 400), "bone": (400, 1800), "gas": (-600, 1500)}
    for key, (name, (level, width)) in enumerate(windows.items(), 1):
        press(page, str(key))
        assert state(page)["window"] == name
        image = pixels(page)
        for place_mm, hu in ((gas, -300.0), (flesh, 27.5)):
            grey = np.clip((hu - level + width / 2) / width * 255, 0, 255)
            assert np.abs(colour_at(page, "axial", place_mm, image) - grey).max() <= 6 * 400 / width + 4, (name, hu)
    press(page, "4")
    page.fill("#level", "-300")
    page.fill("#width", "100")
    settle(page)
    assert np.abs(colour_at(page, "axial", gas, pixels(page)) - 127.5).max() < 40
    assert state(page)["window"] == "custom"


def test_planning_scan_blend_and_checkerboard(page: Page) -> None:
    click(page, "toggle:crosshair")
    for act in ("toggle:daily", "toggle:planned"):
        click(page, act)
    spot = (-5.0, 2.0, 140.0)  # in the bladder of the day (10 HU), outside the planned one (37.5 HU)
    go_to(page, spot)
    press(page, "1")
    page.fill("#width", "60")
    page.fill("#level", "25")
    settle(page)
    greys: dict[str, int] = {}
    greys["daily"] = int(colour_at(page, "axial", spot, pixels(page))[0])
    press(page, "s")
    press(page, "w")
    assert (state(page)["picture"], state(page)["planning"]) == ("planning", "rigid")
    greys["rigid"] = int(colour_at(page, "axial", spot, pixels(page))[0])
    press(page, "b")
    greys["blend"] = int(colour_at(page, "axial", spot, pixels(page))[0])
    assert greys["rigid"] > greys["daily"] + 60
    assert abs(greys["blend"] - (greys["rigid"] + greys["daily"]) / 2) < 3
    page.locator("#share").fill("0")
    settle(page)
    assert abs(int(colour_at(page, "axial", spot, pixels(page))[0]) - greys["daily"]) < 3
    press(page, "]")
    assert state(page)["share"] == pytest.approx(0.1)
    press(page, "k")
    # fields of 25 mm from the region's corner (-40, -30): in the ring between both bladders, by turns of either scan
    image, ring = pixels(page), {(-5.0, 1.5): "daily", (8.5, -12.0): "rigid", (-18.5, -12.0): "daily"}
    for (x, y), which in ring.items():
        grey = int(colour_at(page, "axial", (x, y, 140.0), image)[0])
        assert (grey > (greys["daily"] + greys["rigid"]) / 2) == (which == "rigid"), (x, y, grey)
    assert state(page)["picture"] == "checker"
    press(page, "d")
    assert state(page)["picture"] == "daily"


def test_differences_are_coloured_by_distance_and_sign(page: Page) -> None:
    click(page, "toggle:crosshair")
    click(page, "toggle:planned")
    go_to(page, CENTRE["Prostate"])
    press(page, "f")
    image = pixels(page)
    back = colour_at(page, "axial", rim("Prostate", "axial", 1, np.pi / 2), image)
    front = colour_at(page, "axial", rim("Prostate", "axial", 1, -np.pi / 2), image)
    side = colour_at(page, "axial", rim("Prostate", "axial", 1, 0.0), image)
    assert back[0] > back[2] + 60, f"3 mm outside the plan: orange, {back}"
    assert front[2] > front[0] + 60, f"3 mm inside the plan: blue, {front}"
    assert side.min() > 150, f"unchanged to the side: near white, {side}"
    assert "mm" in page.inner_text("#legends")


def test_maps_and_their_legends(page: Page) -> None:
    for act in ("toggle:crosshair", "toggle:daily", "toggle:planned"):
        click(page, act)
    go_to(page, CENTRE["Prostate"])
    spot = (-30.0, 5.0, 118.0)
    plain = colour_at(page, "axial", spot, pixels(page))
    for key, act, words in (("m", "displacement", "displacement"), ("g", "dose", "Gy")):
        press(page, key)
        assert state(page)["map"] == act and words in page.inner_text("#legends")
        tinted = colour_at(page, "axial", spot, pixels(page))
        assert np.ptp(tinted) > 15 > np.ptp(plain), (act, tinted)
    press(page, "j")  # the same shift everywhere: no change of volume, nothing to tint
    assert np.ptp(colour_at(page, "axial", spot, pixels(page))) < 6 and "volume" in page.inner_text("#legends")
    press(page, "i")
    image, scale = pixels(page), pixels_per_mm(page, "axial")
    x, y = place(page, "axial", (-30.0, 8.0, 118.0))  # 50 % of 60 Gy is 30 mm from the middle
    part = image[int(y), int(x - scale) : int(x + scale) + 1].astype(int)
    assert np.ptp(part, axis=1).max() > 60, "the isodose line of 50 % crosses here"
    press(page, "n")
    assert state(page)["map"] == "none"


def test_a_row_leads_to_the_worst_place_by_mouse_and_by_key(page: Page) -> None:
    page.click("tbody[data-roi='0'] td:nth-child(4)")
    worst = fraction().rois[0].change
    assert worst is not None
    settle(page)
    assert state(page)["mm"] == pytest.approx(worst.worst_mm, abs=0.51)
    said = page.inner_text("#said")
    assert "Bladder" in said and "5.0 mm" in said and "S 155.0" in said
    page.locator("tbody[data-roi='1'] button").focus()
    page.keyboard.press("Enter")
    worst = fraction().rois[1].change
    assert worst and state(page)["mm"] == pytest.approx(worst.worst_mm, abs=0.51)
    press(page, ".")
    assert state(page)["roi"] == 2, "after the last row the first again"
    press(page, ",")
    assert state(page)["roi"] == 1


def test_slices_scroll_by_wheel_keys_and_slider(page: Page) -> None:
    go_to(page, (0.0, 5.0, 120.0))
    for view, axis in VIEWS.items():
        start = state(page)["mm"][axis]
        for key, by in (("ArrowUp", 1), ("ArrowDown", -1), ("PageUp", 10), ("PageDown", -10)):
            press(page, key, view)
            start += by
            assert state(page)["mm"][axis] == pytest.approx(start), (view, key)
        press(page, "Home", view)
        assert state(page)["mm"][axis] == pytest.approx(REGION.origin_mm[axis])
        press(page, "End", view)
        assert state(page)["at"][2 - axis] == REGION.size[2 - axis] - 1
        page.locator(f"#slice-{view}").fill("20")
        assert state(page)["at"][2 - axis] == 20
    page.locator("#canvas-axial").hover()
    page.mouse.wheel(0, -100)
    settle(page)
    assert state(page)["at"][0] == 21
    assert "121.0" in page.inner_text("#place-axial")


def test_zoom_pan_and_fit(page: Page) -> None:
    go_to(page, CENTRE["Prostate"])
    before, size = place(page, "axial", CENTRE["Prostate"]), pixels_per_mm(page, "axial")
    press(page, "+")
    assert pixels_per_mm(page, "axial") == pytest.approx(1.25 * size)
    assert place(page, "axial", CENTRE["Prostate"]) == pytest.approx(before, abs=1.0), "the crosshair stays"
    press(page, "+")
    press(page, "-")
    page.keyboard.down("Shift")
    page.mouse.move(*before)
    page.mouse.down()
    page.mouse.move(before[0] + 30, before[1] + 20)
    page.mouse.up()
    page.keyboard.up("Shift")
    settle(page)
    assert place(page, "axial", CENTRE["Prostate"]) == pytest.approx((before[0] + 30, before[1] + 20), abs=1.0)
    press(page, "0")
    assert pixels_per_mm(page, "axial") == pytest.approx(size) and state(page)["zoom"] == 1


KEYS = {
    "c": ("daily", False),
    "p": ("planned", False),
    "f": ("distance", True),
    "x": ("crosshair", False),
    "2": ("window", "bone"),
    "s": ("picture", "planning"),
    "b": ("picture", "blend"),
    "k": ("picture", "checker"),
    "w": ("planning", "rigid"),
    "m": ("map", "displacement"),
    "j": ("map", "jacobian"),
    "g": ("map", "dose"),
    "i": ("map", "isodoses"),
}


def test_every_button_and_every_key_does_what_it_says(page: Page) -> None:
    for key, (name, value) in KEYS.items():
        press(page, key)
        assert state(page)[name] == value, key
    acts = page.eval_on_selector_all("#viewer button[data-act]", "all => all.map((b) => b.dataset.act)")
    for act in acts:
        before = state(page)
        button = page.locator(f'#viewer button[data-act="{act}"]')
        pressed = button.get_attribute("aria-pressed")
        button.click()
        if act == "help:":
            assert page.locator("#help").is_visible()
            page.keyboard.press("Escape")
            assert not page.locator("#help").is_visible()
        elif act.startswith(("toggle:", "roi:")):
            assert button.get_attribute("aria-pressed") != pressed and state(page) != before, act
        elif pressed is not None and not act.startswith("map:"):
            assert button.get_attribute("aria-pressed") == "true", act
    click(page, "rois:none")
    assert state(page)["shown"] == []
    click(page, "rois:all")
    assert sorted(state(page)["shown"]) == [0, 1, 2]


def test_letters_are_text_where_text_is_written_and_can_be_switched_off(page: Page) -> None:
    page.locator("[data-decide=''] input[type=text]").press_sequentially("cpfk")
    page.locator("#width").fill("")
    page.locator("#width").press_sequentially("120")
    assert page.input_value("#width") == "120" and state(page)["window"] == "custom"
    assert state(page)["daily"] and state(page)["picture"] == "daily"
    press(page, "h")
    page.locator("#keys-on").press("Space")
    page.keyboard.press("Escape")
    press(page, "c")
    assert state(page)["daily"]


def test_tab_reaches_the_views_after_the_table_and_every_focus_is_seen(page: Page) -> None:
    page.evaluate("document.activeElement.blur()")
    order: list[str] = []
    for _ in range(60):
        page.keyboard.press("Tab")
        order.append(page.evaluate("document.activeElement.id || document.activeElement.dataset.act || ''"))
        assert page.evaluate("getComputedStyle(document.activeElement).outlineStyle") != "none", order[-1]
        if order[-1] == "canvas-sagittal":
            break
    wanted = ["jump:2", "jump:0", "jump:1", "picture:daily", "canvas-axial", "canvas-coronal", "canvas-sagittal"]
    assert [what for what in order if what in wanted] == wanted


def test_the_readout_names_place_hu_displacement_and_dose(page: Page) -> None:
    go_to(page, CENTRE["Prostate"])
    page.mouse.move(*place(page, "axial", CENTRE["Prostate"]))
    text = page.inner_text("#readout")
    assert "P 8.0" in text and "S 118.0 mm" in text
    hu = float(text.split("daily ")[1].split(" HU")[0])
    assert abs(hu - 60) < 8
    # the field leads 3 mm to the front, back to the planning scan: the tissue came 3 mm to the back
    assert "moved 3.0 mm (0.0 L, 3.0 P, 0.0 S)" in text and "planning/daily 1.00" in text
    gray = float(text.split(" Gy")[0].split("· ")[-1])
    assert abs(gray - 60) < 1.8  # a cusp, sampled every 2 mm


def test_decisions_become_a_file_and_a_command(page: Page) -> None:
    assert page.locator("#save-decisions").is_disabled()
    page.check("[data-decide='Rectum'] input[value=edit]")
    page.fill("[data-decide='Rectum'] input[type=text]", 'gas at the "rim"')
    page.click("#accept-passed")
    with page.expect_download() as waiting:
        page.click("#save-decisions")
    assert waiting.value.suggested_filename == "rtstruct.decisions.json"
    saved = json.loads(Path(waiting.value.path()).read_text(encoding="utf-8"))
    assert saved == {
        "rtstruct_sha256": "ab" * 32,
        "decisions": [
            {"roi": "Bladder", "decision": "accept", "comment": ""},
            {"roi": "Prostate", "decision": "accept", "comment": ""},
            {"roi": "Rectum", "decision": "edit", "comment": 'gas at the "rim"'},
        ],
    }
    page.click("#copy-command")
    assert "recontour review rtstruct.dcm --who INITIALS --from rtstruct.decisions.json" in page.inner_text("#command")
    page.wait_for_function("document.getElementById('decided').textContent.startsWith('The command is')")


@pytest.mark.parametrize("width", [1024, 1400, 2560])
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_the_layout_holds(shared: Page, width: int, scheme: Any) -> None:
    page = shared
    page.emulate_media(color_scheme=scheme)
    page.set_viewport_size({"width": width, "height": 768 if width == 1024 else 1440})
    settle(page)
    assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")
    inner, outer = page.eval_on_selector(".scroll", "table => [table.scrollWidth, table.clientWidth]")
    assert inner <= outer
    boxes = page.eval_on_selector_all(
        "header .verdict, header .who, main > section", "all => all.map((e) => e.getBoundingClientRect().toJSON())"
    )
    for k, a in enumerate(boxes):
        for b in boxes[k + 1 :]:
            wide = min(a["right"], b["right"]) - max(a["left"], b["left"])
            high = min(a["bottom"], b["bottom"]) - max(a["top"], b["top"])
            assert wide <= 0.5 or high <= 0.5, "sections lie over each other"
    views = page.locator("#views").bounding_box()
    assert views and views["width"] > 0.5 * width
    dim = [pair for pair in page.evaluate(CONTRAST) if pair[0] < 4.5]
    assert not dim
    page.emulate_media(color_scheme="light")


# WCAG 2.2, 1.4.3: contrast of text with what lies behind it, of every element that holds text of its own
CONTRAST = """() => {
  const numbers = (text) => text.match(/[\\d.]+/g).map(Number);
  const light = ([r, g, b]) => [r, g, b].map((v) => (v /= 255, v <= 0.04045 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4))
    .reduce((sum, v, k) => sum + v * [0.2126, 0.7152, 0.0722][k], 0);
  const behind = (element) => {
    for (let e = element; e; e = e.parentElement) {
      const colour = numbers(getComputedStyle(e).backgroundColor);
      if (colour.length < 4 || colour[3] === 1) return colour;
    }
    return [255, 255, 255];
  };
  const out = [];
  for (const e of document.querySelectorAll("body *")) {
    const own = [...e.childNodes].some((n) => n.nodeType === 3 && n.textContent.trim());
    const aside = e.closest("svg, script, style, dialog, [hidden], noscript, :disabled, .mark, .skip");
    if (!own || aside || !e.offsetParent) continue;
    const [a, b] = [light(numbers(getComputedStyle(e).color)), light(behind(e))].sort((x, y) => y - x);
    out.push([(a + 0.05) / (b + 0.05), e.tagName + " " + e.textContent.trim().slice(0, 30)]);
  }
  return out;
}"""


def test_sharp_on_fine_screens_and_still_while_loading(opened: Callable[..., Page]) -> None:
    page = opened(device_scale_factor=2)
    wide, high, box = page.evaluate(
        "(() => { const c = document.getElementById('canvas-axial'), b = c.getBoundingClientRect();"
        " return [c.width, c.height, [b.width, b.height]] })()"
    )
    assert (wide, high) == pytest.approx((2 * box[0], 2 * box[1]), abs=1.01)
    moved = page.evaluate(
        "() => new Promise((go) => { let sum = 0; new PerformanceObserver((list) => list.getEntries()"
        ".forEach((e) => { sum += e.value; })).observe({ type: 'layout-shift', buffered: true });"
        " setTimeout(() => go(sum), 50); })"
    )
    assert moved < 0.02


def test_a_printed_page_has_the_pictures_and_no_controls(page: Page) -> None:
    assert page.pdf(format="A4").count(b"/Subtype /Image") >= 3
    page.evaluate("dispatchEvent(new Event('beforeprint'))")
    page.emulate_media(media="print")
    try:
        for hidden in (".tools", "#review-form", "#readout", "#canvas-axial"):
            assert not page.locator(hidden).is_visible(), hidden
        sizes = page.eval_on_selector_all(".paper canvas", "all => all.map((c) => [c.width, c.height, c.clientWidth])")
        assert len(sizes) == 3 and all(wide > 100 for _, _, wide in sizes)
        # 80 x 70 x 60 mm: axial 80 x 70, coronal 80 x 60, sagittal 70 x 60, at one scale on paper
        assert [round(w / h, 2) for w, h, _ in sizes] == [1.14, 1.33, 1.17]
        assert sizes[0][2] / sizes[2][2] == pytest.approx(80 / 70, rel=0.03)
    finally:
        page.emulate_media(media="screen")


def test_a_browser_that_alters_pictures_is_noticed(browser: Browser, file: Path) -> None:
    context = browser.new_context()
    page = context.new_page()
    page.add_init_script(
        "const get = CanvasRenderingContext2D.prototype.getImageData;"
        "CanvasRenderingContext2D.prototype.getImageData = function (...a) {"
        " const d = get.apply(this, a); d.data.fill(255); return d; };"
    )
    page.goto(file.as_uri())
    page.locator("#alarm").wait_for(state="visible")
    assert "cannot be shown" in page.inner_text("#alarm")
    context.close()

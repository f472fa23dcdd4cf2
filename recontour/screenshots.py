"""Pictures of a report's page, as a browser shows it, for documents and for those who have no browser at hand."""

from __future__ import annotations

import shutil
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from recontour.errors import OutputRefused, UsageError

BROWSERS = ("chromium", "chromium-browser", "google-chrome")
_PATIENCE_MS = 60_000


@dataclass(frozen=True)
class Shot:
    """A picture to take: its name, the window in pixels, and whether in the dark; `keys` are pressed first, and `part`
    of the page (a CSS selector) is taken instead of what the window shows."""

    name: str
    width: int = 1440
    height: int = 900
    dark: bool = False
    keys: str = ""
    part: str = ""


SHOTS = (
    Shot("report-light"),
    Shot("report-dark", dark=True),
    Shot("report-narrow", 1024, 768),
    Shot("report-contours", part="#viewer"),
    Shot("report-differences", keys="f", part="#viewer"),
    Shot("report-checkerboard", keys="k", part="#viewer"),
    Shot("report-displacement", keys="m", part="#viewer"),
    Shot("report-dose", part="#dose"),
)


def check_browser() -> Path:
    """The browser's program. Raises UsageError, naming what to install, where it or playwright is not there."""
    if find_spec("playwright") is None:
        raise UsageError("playwright is not installed", where="--screenshots", allowed="pip install playwright")
    found = next((path for path in map(shutil.which, BROWSERS) if path), None)
    if found is None:
        raise UsageError(
            "no browser is installed", where="--screenshots", allowed=f"one of {', '.join(BROWSERS)}, on the PATH"
        )
    return Path(found)


def take_screenshots(page: Path, folder: Path, shots: tuple[Shot, ...] = SHOTS) -> list[Path]:
    """PNG files in `folder`, one for each shot; those that are there are replaced. A part that the page has not, such
    as the dose, gets none. The browser may not reach any network. Raises UsageError as `check_browser`, OutputRefused
    where the browser fails."""
    program = check_browser()
    from playwright.sync_api import Error, sync_playwright

    folder.mkdir(parents=True, exist_ok=True)
    playwright: Any
    try:
        with sync_playwright() as playwright:
            browser = playwright.chromium.launch(executable_path=str(program), args=["--no-sandbox"])
            try:
                taken = [_take(browser, page, folder, shot) for shot in shots]
            finally:
                browser.close()
    except Error as error:
        found = f"the browser failed: {error.message.splitlines()[0]}"
        raise OutputRefused(found, where="--screenshots", allowed="the report itself is there") from error
    return [path for path in taken if path]


def _take(browser: Any, page: Path, folder: Path, shot: Shot) -> Path | None:
    window = browser.new_page(
        viewport={"width": shot.width, "height": shot.height}, color_scheme="dark" if shot.dark else "light"
    )
    try:
        window.context.set_offline(True)
        window.goto(page.resolve().as_uri(), wait_until="load", timeout=_PATIENCE_MS)
        window.wait_for_selector("#views:not([aria-busy=true])", timeout=_PATIENCE_MS)  # slices are unpacked and drawn
        if shot.part and not window.query_selector(shot.part):
            return None
        for key in shot.keys:
            window.keyboard.press(key)
        window.wait_for_timeout(300)
        path = folder / f"{shot.name}.png"
        target = window.locator(shot.part) if shot.part else window
        target.screenshot(path=str(path), timeout=_PATIENCE_MS)
        return path
    finally:
        window.close()

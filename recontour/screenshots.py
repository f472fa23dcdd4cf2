"""Pictures of a report's page, as a browser shows it, for documents and for those who have no browser at hand."""

from __future__ import annotations

import shutil
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from recontour.errors import UsageError

BROWSERS = ("chromium", "chromium-browser", "google-chrome")


@dataclass(frozen=True)
class Shot:
    """A picture to take: its name, the window in pixels, whether in the dark, whether of the page's whole length."""

    name: str
    width: int
    height: int
    dark: bool = False
    whole: bool = False


SHOTS = (
    Shot("report-light", 1440, 900),
    Shot("report-whole", 1440, 900, whole=True),
    Shot("report-dark", 1440, 900, dark=True),
    Shot("report-narrow", 1024, 768),
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
    """PNG files in `folder`, one for each shot; those that are there are replaced. The browser may not reach any
    network. Raises UsageError as `check_browser`."""
    program = check_browser()
    from playwright.sync_api import sync_playwright

    folder.mkdir(parents=True, exist_ok=True)
    playwright: Any
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=str(program), args=["--no-sandbox"])
        try:
            return [_take(browser, page, folder, shot) for shot in shots]
        finally:
            browser.close()


def _take(browser: Any, page: Path, folder: Path, shot: Shot) -> Path:
    window = browser.new_page(
        viewport={"width": shot.width, "height": shot.height}, color_scheme="dark" if shot.dark else "light"
    )
    window.context.set_offline(True)
    window.goto(page.resolve().as_uri(), wait_until="load")
    window.wait_for_timeout(500)  # the viewer unpacks its slices and draws the first of them
    path = folder / f"{shot.name}.png"
    window.screenshot(path=str(path), full_page=shot.whole)
    window.close()
    return path

"""A real browser for tests of pages: Chromium without a window, driven by Selenium."""

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

DRIVER, BROWSER = shutil.which("chromedriver"), shutil.which("chromium")


@contextmanager
def chromium(profile: Path, *words: str, console: bool = False) -> Iterator[Any]:
    """A driver of a browser with these words on its command line; skips the test where there is none.

    Args:
        profile: A directory of its own.
        words: As `--window-size=1000,1400`.
        console: Whether the driver keeps what pages write to the browser's console.
    """
    if not (DRIVER and BROWSER):
        pytest.skip("Chromium and its driver are not here: apt install chromium chromium-driver")
    webdriver = pytest.importorskip("selenium.webdriver")
    options = webdriver.ChromeOptions()
    options.binary_location = BROWSER
    if console:
        options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
    for word in (*words, "--no-sandbox", "--disable-gpu", f"--user-data-dir={profile}"):
        options.add_argument(word)
    with webdriver.Chrome(options, webdriver.ChromeService(DRIVER)) as driver:
        yield driver

"""A picture of a page, by a headless Chromium: `python -m harness.report.screenshot STORE OUT.png`.

Needs the `test` extra (selenium) and Debian's `chromium` and `chromium-driver`. The browser has no network.
"""

from __future__ import annotations

import argparse
import base64
import json
import shutil
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from selenium.webdriver import Chrome

_FLAGS = (
    "--headless",
    "--no-sandbox",  # a sandbox needs rights that root in a container has not
    "--disable-gpu",
    "--disable-dev-shm-usage",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--hide-scrollbars",
    "--host-resolver-rules=MAP * ~NOTFOUND",
)


def missing() -> str | None:
    """What keeps a browser from being started, and how to get it; or None."""
    try:
        import selenium  # noqa: F401
    except ImportError:
        return "selenium is not installed: pip install 'splitbrain[test]'"
    if not (shutil.which("chromium") and shutil.which("chromedriver")):
        return "there is no Chromium here: apt-get install chromium chromium-driver"
    return None


@contextmanager
def browser() -> Iterator[Chrome]:
    """A headless Chromium with a profile of its own, which logs its console and every request."""
    from selenium.webdriver import Chrome, ChromeOptions
    from selenium.webdriver.chrome.service import Service

    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as profile:
        options = ChromeOptions()
        options.binary_location = shutil.which("chromium") or "chromium"
        for flag in (*_FLAGS, f"--user-data-dir={profile}"):
            options.add_argument(flag)
        options.set_capability("goog:loggingPrefs", {"browser": "ALL", "performance": "ALL"})
        driver = Chrome(options=options, service=Service(shutil.which("chromedriver")))
        try:
            yield driver
        finally:
            driver.quit()


def show(driver: Chrome, page: Path, *, width: int = 1440, height: int = 900, dark: bool = False) -> None:
    """Open a page in a window of this size and wait until its charts are drawn."""
    driver.execute_cdp_cmd(
        "Emulation.setDeviceMetricsOverride",
        {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": width < 600},
    )
    driver.execute_cdp_cmd(
        "Emulation.setEmulatedMedia",
        {"features": [{"name": "prefers-color-scheme", "value": "dark" if dark else "light"}]},
    )
    driver.get(page.resolve().as_uri())
    deadline = time.monotonic() + 60
    while not (state := driver.execute_script("return document.documentElement.dataset.state")):
        if time.monotonic() > deadline:
            raise TimeoutError(f"{page}: not drawn within a minute")
        time.sleep(0.02)
    if state != "drawn":
        raise RuntimeError(f"{page}: {console(driver)}")


def console(driver: Chrome) -> list[dict[str, Any]]:
    """What the page has written to its console, and what the browser complained of, since last asked."""
    return list(driver.get_log("browser"))  # type: ignore[no-untyped-call]


def requests(driver: Chrome) -> list[str]:
    """Addresses that the browser has asked for since last asked."""
    entries = driver.get_log("performance")  # type: ignore[no-untyped-call]
    messages = [json.loads(entry["message"])["message"] for entry in entries]
    return [
        one["params"]["request"]["url"] for one in messages if one["method"] == "Network.requestWillBeSent"
    ]


def take(driver: Chrome, out: Path, *, full: bool = False) -> None:
    """Write what is shown, or the whole page, as PNG."""
    shot = driver.execute_cdp_cmd("Page.captureScreenshot", {"format": "png", "captureBeyondViewport": full})
    out.write_bytes(base64.b64decode(shot["data"]))


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m harness.report.screenshot", description=__doc__)
    parser.add_argument("store", type=Path, help="a run's folder, with its report.html")
    parser.add_argument("out", type=Path, help="the picture to write (PNG)")
    parser.add_argument("--width", type=int, default=1440)
    parser.add_argument("--height", type=int, default=900)
    parser.add_argument("--dark", action="store_true")
    parser.add_argument("--full", action="store_true", help="the whole page instead of its first screen")
    options = parser.parse_args(arguments)
    lacking = missing()
    if lacking is not None:
        sys.stderr.write(f"{lacking}\n")
        return 5
    with browser() as driver:
        show(
            driver,
            options.store / "report.html",
            width=options.width,
            height=options.height,
            dark=options.dark,
        )
        take(driver, options.out, full=options.full)
    return 0


if __name__ == "__main__":
    sys.exit(main())

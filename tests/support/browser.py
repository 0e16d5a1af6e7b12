"""A page in Debian's own Chromium, without a window: what it asks for, what it complains of, what axe-core finds.

Told what to do by WebDriver, which is JSON over HTTP to Debian's `chromedriver`: no client library is needed.
"""

import base64
import json
import os
import re
import shutil
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Literal
from urllib.request import Request, urlopen

from support.places import REPOSITORY

AXE = REPOSITORY / ".browser" / "node_modules" / "axe-core" / "axe.min.js"
# What a page holds in itself.
INSIDE = ("file:", "data:", "blob:")
LOUD = ("SEVERE", "WARNING")
TAB, ENTER = "\ue004", "\ue007"
SWITCHES = ("--headless=new", "--hide-scrollbars", "--disable-background-networking")
TIMEOUT_S = 300


@contextmanager
def chromedriver() -> Iterator[str]:
    """A driver of Debian's; its address."""
    with subprocess.Popen(
        [shutil.which("chromedriver") or "", "--port=0"], stdout=subprocess.PIPE, text=True
    ) as driver:
        try:
            assert driver.stdout is not None
            port = next(
                found.group(1) for line in driver.stdout if (found := re.search(r"successfully on port (\d+)", line))
            )
            yield f"http://127.0.0.1:{port}"
        finally:
            driver.terminate()


class Browser:
    """One Chromium with one tab."""

    def __init__(self, driver: str) -> None:
        switches = [*SWITCHES, *(["--no-sandbox"] if os.geteuid() == 0 else [])]
        capabilities = {
            "browserName": "chrome",
            "goog:chromeOptions": {"binary": shutil.which("chromium"), "args": switches},
            "goog:loggingPrefs": {"browser": "ALL", "performance": "ALL"},
            "timeouts": {"script": 1000 * TIMEOUT_S},
        }
        self._session = f"{driver}/session"
        begun = self._post("", capabilities={"alwaysMatch": capabilities})
        self._session += f"/{begun['sessionId']}"

    def open(
        self, address: str, *, width: int = 1280, media: str = "", scheme: str = "light", runs_scripts: bool = True
    ) -> None:
        """Load a page anew at this width of the screen, or of the sheet of paper where `media` is print."""
        self._devtools("Emulation.setScriptExecutionDisabled", value=not runs_scripts)
        self._devtools("Emulation.setDeviceMetricsOverride", width=width, height=900, deviceScaleFactor=1, mobile=False)
        features = [{"name": "prefers-color-scheme", "value": scheme}]
        self._devtools("Emulation.setEmulatedMedia", media=media, features=features)
        self._post("/url", url=address)
        while self.ask("return document.readyState") != "complete":  # without scripts the driver does not wait for it
            time.sleep(0.05)

    def ask(self, script: str, *values: object) -> Any:  # noqa: ANN401
        """What a piece of JavaScript returns."""
        return self._post("/execute/sync", script=script, args=values)

    def click(self, selector: str, n: int = 0) -> None:
        """The n-th of the elements."""
        found = self._post("/elements", using="css selector", value=selector)
        (element,) = found[n].values()
        self._post(f"/element/{element}/click")

    def type(self, keys: str) -> None:
        """Press key after key, wherever the focus is."""
        presses = [{"type": kind, "value": key} for key in keys for kind in ("keyDown", "keyUp")]
        self._post("/actions", actions=[{"type": "key", "id": "keyboard", "actions": presses}])

    def complaints(self, *levels: str) -> list[str]:
        """Errors of the console since the last call; warnings too, where no level is named."""
        return [entry["message"] for entry in self._log("browser") if entry["level"] in (levels or LOUD)]

    def wait_for(self, text: str, *, timeout_s: int = 60) -> str:
        """What the page shows, once that is in it."""
        for _ in range(timeout_s):
            shown = str(self.ask("return document.body.innerText"))
            if text in shown:
                return shown
            time.sleep(1)
        raise TimeoutError(f"{text!r} is not in: {shown[:2000]}")

    def requests(self) -> list[str]:
        """Addresses elsewhere that were asked since the last call."""
        events = [json.loads(entry["message"])["message"] for entry in self._log("performance")]
        asked = (
            event["params"]["request"]["url"] for event in events if event["method"] == "Network.requestWillBeSent"
        )
        return [address for address in asked if not address.startswith(INSIDE)]

    def violations(self) -> list[str]:
        """What axe-core finds by all of its rules, with the first place of each."""
        self.ask(AXE.read_text())
        script = "axe.run({resultTypes: ['violations']}).then((found) => arguments[0](found.violations))"
        found = self._post("/execute/async", script=script, args=[])
        return [f"{one['id']}, {len(one['nodes'])}: {one['nodes'][0]['target']}: {one['help']}" for one in found]

    def overflowing(self, selector: str) -> list[str]:
        """Elements whose content is wider than they are."""
        script = """
            return [...document.querySelectorAll(arguments[0])]
                .filter((one) => one.scrollWidth > one.clientWidth + 1 && one.clientWidth)
                .map((one) => `${one.textContent.trim().slice(0, 60)}: ${one.scrollWidth} > ${one.clientWidth}`)
        """
        return list(self.ask(script, selector))

    def picture(self, path: Path, *, of: str = "") -> None:
        """The whole page, or one element in its upper left corner."""
        script = """
            const {scrollWidth, scrollHeight} = document.querySelector(arguments[0] || "html");
            return [arguments[0] ? scrollWidth : innerWidth, scrollHeight];
        """
        width, height = self.ask(script, of)
        clip = {"x": 0, "y": 0, "width": width, "height": height, "scale": 1}
        shot = self._devtools("Page.captureScreenshot", captureBeyondViewport=True, clip=clip)
        path.write_bytes(base64.b64decode(shot["data"]))

    def sheets(self) -> bytes:
        """The page as printed, a PDF of A4."""
        return base64.b64decode(self._devtools("Page.printToPDF", paperWidth=8.27, paperHeight=11.69)["data"])

    def close(self) -> None:
        with urlopen(Request(self._session, method="DELETE"), timeout=TIMEOUT_S):
            pass

    def _log(self, kind: Literal["browser", "performance"]) -> list[dict[str, str]]:
        return list(self._post("/se/log", type=kind))

    def _devtools(self, command: str, **values: object) -> Any:  # noqa: ANN401
        return self._post("/goog/cdp/execute", cmd=command, params=values)

    def _post(self, path: str, **values: object) -> Any:  # noqa: ANN401
        body = Request(self._session + path, json.dumps(values).encode(), {"Content-Type": "application/json"})
        with urlopen(body, timeout=TIMEOUT_S) as answer:
            return json.load(answer)["value"]

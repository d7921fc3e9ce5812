"""A headless Chromium, driven over its DevTools protocol."""

import asyncio
import base64
import contextlib
import json
import os
import shutil
import tempfile
from pathlib import Path

import aiohttp

from tests.support.tools import missing
from tests.support.waiting import FOREVER, eventually


class Page:
    """One page.

    Attributes:
        requests: URLs of all requests.
        complaints: what the console shows: errors of scripts, and violations of the Content-Security-Policy.
    """

    def __init__(self, socket):
        self._socket = socket
        self._answers = {}
        self._number = 0
        self.requests = []
        self.complaints = []

    async def listen(self):
        async for message in self._socket:
            received = json.loads(message.data)
            if "id" in received:
                self._answers.pop(received["id"]).set_result(received)
            elif received["method"] == "Network.requestWillBeSent":
                self.requests.append(received["params"]["request"]["url"])
            elif received["method"] == "Log.entryAdded":
                self.complaints.append(received["params"]["entry"]["text"])
            elif received["method"] == "Runtime.exceptionThrown":
                self.complaints.append(str(received["params"]["exceptionDetails"]))

    async def call(self, method, **parameters):
        self._number += 1
        future = self._answers[self._number] = asyncio.get_running_loop().create_future()
        await self._socket.send_json({"id": self._number, "method": method, "params": parameters})
        answer = await asyncio.wait_for(future, FOREVER)
        assert "error" not in answer, answer
        return answer["result"]

    async def open(self, url, *, width=1280, height=900, dark=False):
        for domain in ("Page", "Runtime", "Network", "Log"):
            await self.call(f"{domain}.enable")
        await self.call(
            "Emulation.setDeviceMetricsOverride",
            width=width,
            height=height,
            deviceScaleFactor=1,
            mobile=width < 500,
        )
        scheme = "dark" if dark else "light"
        await self.call(
            "Emulation.setEmulatedMedia",
            features=[{"name": "prefers-color-scheme", "value": scheme}],
        )
        await self.call("Page.navigate", url=url)

    async def run(self, script):
        """Return the value of an expression."""
        result = await self.call(
            "Runtime.evaluate", expression=script, returnByValue=True, awaitPromise=True
        )
        assert "exceptionDetails" not in result, result
        return result["result"].get("value")

    async def text(self, selector="body"):
        return await self.run(f"document.querySelector({json.dumps(selector)})?.innerText ?? ''")

    async def shows(self, text, selector="body"):
        """Wait until an element shows a text."""
        async with asyncio.timeout(FOREVER):
            while text not in (seen := await self.text(selector)):
                await asyncio.sleep(0.02)
        return seen

    async def screenshot(self, file):
        size = (await self.call("Page.getLayoutMetrics"))["cssContentSize"]
        clip = {
            "x": 0,
            "y": 0,
            "width": size["width"],
            "height": min(size["height"], 5000),
            "scale": 1,
        }
        picture = await self.call("Page.captureScreenshot", clip=clip, captureBeyondViewport=True)
        Path(file).write_bytes(base64.b64decode(picture["data"]))


async def _first_page(session, url):
    """Return the WebSocket of the first page, which appears a moment after the port is announced."""
    async with asyncio.timeout(FOREVER):
        while True:
            async with session.get(url) as answer:
                for one in await answer.json():
                    if one["type"] == "page":
                        return one["webSocketDebuggerUrl"]
            await asyncio.sleep(0.02)


def needs_chromium():
    """Skip the test without Chromium; in CI it fails."""
    if shutil.which("chromium") is None:
        missing("chromium")


@contextlib.asynccontextmanager
async def browser():
    """Run a browser; yield an empty page."""
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as profile:
        process = await asyncio.create_subprocess_exec(
            "chromium", "--headless", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--hide-scrollbars",
            "--no-first-run", "--disable-background-networking", "--disable-component-update", "--disable-sync",
            "--remote-debugging-port=0", f"--user-data-dir={profile}", "about:blank",
            stdin=asyncio.subprocess.DEVNULL, stdout=asyncio.subprocess.DEVNULL, stderr=asyncio.subprocess.DEVNULL,
            env={**os.environ, "HOME": profile}, start_new_session=True,
        )  # fmt: skip
        try:
            announced = Path(profile) / "DevToolsActivePort"
            await eventually(
                lambda: announced.exists() and "\n" in announced.read_text(), "Chromium"
            )
            port = announced.read_text().split()[0]
            async with aiohttp.ClientSession() as session:
                url = await _first_page(session, f"http://127.0.0.1:{port}/json/list")
                async with session.ws_connect(url, max_msg_size=0) as socket:
                    page = Page(socket)
                    listener = asyncio.create_task(page.listen())
                    try:
                        yield page
                    finally:
                        listener.cancel()
        finally:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, 9)
            await process.wait()

"""Headless Chromium by its debugging protocol, over a pipe: pages, trusted keys, sizes, requests, timing."""

import base64
import contextlib
import json
import os
import select
import subprocess
import tempfile
import time


class Browser:
    """A page in Chromium. ``requests`` and ``complaints`` hold what it has asked for and what it has logged."""

    def __init__(self, width=1280, height=900):
        (to_read, to), (back, back_write) = os.pipe(), os.pipe()
        self.folder = tempfile.TemporaryDirectory(ignore_cleanup_errors=True)
        command = [
            "chromium", "--headless", "--no-sandbox", "--disable-gpu", "--remote-debugging-pipe", "--no-first-run",
            f"--user-data-dir={self.folder.name}", "--host-resolver-rules=MAP * ~NOTFOUND", "--hide-scrollbars",
        ]  # fmt: skip
        # Chromium reads commands from descriptor 3 and answers on 4.
        script = f'exec 3<&{to_read} 4>&{back_write}; exec "$@"'
        self.process = subprocess.Popen(
            ["bash", "-c", script, "bash", *command],
            pass_fds=(to_read, back_write), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
        )  # fmt: skip
        os.close(to_read)
        os.close(back_write)
        self.to, self.back, self.rest, self.count, self.session = to, back, b"", 0, None
        self.requests, self.complaints = [], []
        target = self.call("Target.createTarget", url="about:blank")["targetId"]
        self.session = self.call("Target.attachToTarget", targetId=target, flatten=True)["sessionId"]
        for domain in ("Page", "Runtime", "Network", "Log"):
            self.call(f"{domain}.enable")
        self.call("Performance.enable", timeDomain="threadTicks")  # seconds of the processor, also on a busy machine
        self.size(width, height)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.session = None
        with contextlib.suppress(AssertionError, OSError):
            self.call("Browser.close", limit=10)
        with contextlib.suppress(subprocess.TimeoutExpired):
            self.process.wait(10)
        self.process.kill()
        self.process.wait()
        os.close(self.to)
        os.close(self.back)
        self.folder.cleanup()

    def call(self, method, limit=120, **params):
        self.count += 1
        message = {"id": self.count, "method": method, "params": params}
        if self.session:
            message["sessionId"] = self.session
        os.write(self.to, json.dumps(message).encode() + b"\0")
        end = time.monotonic() + limit
        while True:
            answer = self._next(end)
            if answer.get("id") == self.count:
                assert "error" not in answer, (method, answer["error"])
                return answer["result"]

    def _next(self, end):
        while b"\0" not in self.rest:
            ready, _, _ = select.select([self.back], [], [], max(0.0, end - time.monotonic()))
            assert ready, "Chromium does not answer"
            part = os.read(self.back, 1 << 20)
            assert part, "Chromium has ended"
            self.rest += part
        message, _, self.rest = self.rest.partition(b"\0")
        answer = json.loads(message)
        method, params = answer.get("method"), answer.get("params", {})
        if method == "Network.requestWillBeSent":
            self.requests.append(params["request"]["url"])
        if method in ("Runtime.exceptionThrown", "Runtime.consoleAPICalled", "Log.entryAdded"):
            self.complaints.append(json.dumps(params))
        return answer

    def run(self, script, limit=120):
        """The value of an expression, or of the promise that it gives."""
        found = self.call(
            "Runtime.evaluate", limit=limit, expression=script, returnByValue=True, awaitPromise=True, userGesture=True
        )
        assert "exceptionDetails" not in found, found["exceptionDetails"]
        return found["result"].get("value")

    def open(self, url):
        self.call("Page.navigate", url="about:blank")
        self.requests.clear()  # not before: the last page may still have told of its own
        self.complaints.clear()
        if url != "about:blank":
            self.call("Page.navigate", url=url)
            self.until("document.readyState === 'complete' && location.href !== 'about:blank'")

    def until(self, condition, heard=lambda: True, limit=60):
        """Wait for an expression of the page to hold, and for ``heard()``, which may look at what Chromium has told."""
        end = time.monotonic() + limit
        while not (self.run(condition) and heard()):
            assert time.monotonic() < end, f"it never came that {condition}"
            time.sleep(0.05)

    def size(self, width, height):
        self.call(
            "Emulation.setDeviceMetricsOverride", width=width, height=height, deviceScaleFactor=1, mobile=width < 600
        )

    def dark(self, dark):
        value = "dark" if dark else "light"
        self.call("Emulation.setEmulatedMedia", features=[{"name": "prefers-color-scheme", "value": value}])

    def press(self, key, code=0, text=""):
        """A key as the user presses it."""
        for kind in ("keyDown", "keyUp"):
            more = {"text": text} if text and kind == "keyDown" else {}
            self.call("Input.dispatchKeyEvent", type=kind, key=key, code=key, windowsVirtualKeyCode=code, **more)

    def picture(self, path, height=None):
        full = {"captureBeyondViewport": True} if height is None else {}
        data = self.call("Page.captureScreenshot", format="png", **full)["data"]
        path.write_bytes(base64.b64decode(data))

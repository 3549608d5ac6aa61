"""Chromium and the page in it, driven as a person would: keys, clicks, and what can be seen."""

import os
import shutil
import time
from contextlib import contextmanager

import pytest

PATIENCE = 40.0
NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
FLAGS = [
    "--headless=new",
    "--no-sandbox",  # containers run as root
    "--disable-gpu",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--disable-quic",
    "--autoplay-policy=no-user-gesture-required",
    "--use-fake-device-for-media-stream",
    "--use-fake-ui-for-media-stream",
]
# Nothing but this machine has an address: the page has to work without a network.
FLAGS += ["--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1"]


def chromium():
    """Where Chromium is; skips if there is none."""
    found = [os.environ.get("CAUSVID_CHROMIUM"), *map(shutil.which, NAMES)]
    path = next((name for name in found if name), None)
    if path is None:
        pytest.skip("no Chromium was found: apt-get install chromium, or set CAUSVID_CHROMIUM to its path")
    return path


@contextmanager
def browser():
    """A browser with a fresh profile."""
    playwright = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
    path = chromium()
    with playwright.sync_playwright() as tool:
        running = tool.chromium.launch(executable_path=path, args=FLAGS)
        yield running
        running.close()


class Page:
    """The page of a running server.

    Args:
        script: JavaScript that runs before the page's own.
        hush: console messages that are expected, by a part of their text.
    """

    def __init__(self, running, port, *, script=None, hush=(), path="/", **context):
        self.origin = f"http://127.0.0.1:{port}"
        self.context = running.new_context(**{"viewport": {"width": 1280, "height": 800}} | context)
        if script is not None:
            self.context.add_init_script(script)
        self.view = self.context.new_page()
        self.requests, self.faults, self._hush = [], [], hush
        self.context.on("request", lambda request: self.requests.append(request.url))
        self.view.on("pageerror", lambda error: self.faults.append(str(error)))
        self.view.on("console", self._console)
        self.view.goto(self.origin + path)

    def __enter__(self):
        return self

    def __exit__(self, kind, *_):
        self.context.close()
        if kind is None:
            assert not self.faults, self.faults
            foreign = [url for url in self.requests if not url.startswith((self.origin, "data:", "blob:"))]
            assert not foreign, foreign

    def _console(self, message):
        if message.type in ("error", "warning") and not any(part in message.text for part in self._hush):
            self.faults.append(message.text)

    def ask(self, javascript):
        return self.view.evaluate(javascript)

    def until(self, javascript):
        """Wait until something is true on the page, and give it."""
        end = time.monotonic() + PATIENCE
        while not (value := self.ask(javascript)):
            assert time.monotonic() < end, f"never true: {javascript}\nnotice: {self.notice}"
            self.view.wait_for_timeout(25)
        return value

    def begin(self, prompt="a red ball bounces on the grass under a blue sky", *, seed=7):
        """Start a video by keyboard and wait for its first picture."""
        self.until("document.querySelectorAll('#examples button').length > 0")
        self.view.fill("#seed", str(seed))
        self.view.fill("#prompt", prompt)
        self.view.press("#prompt", "Enter")
        self.until(
            "document.body.dataset.state === 'live' && document.querySelector('#time').value !== '0:00'"
        )

    def write(self, prompt):
        """Another prompt for the video that is running."""
        self.view.fill("#prompt", prompt)
        self.view.press("#prompt", "Enter")

    def press(self, key):
        """A shortcut: not while typing."""
        self.view.evaluate("document.activeElement.blur()")
        self.view.keyboard.press(key)

    def chunks(self, count):
        """Wait until the strip holds so many pictures; gives them all."""
        self.until(f"document.querySelectorAll('.thumb img').length >= {count}")
        return self.ask("[...document.querySelectorAll('.thumb img')].map(image => image.src)")

    @property
    def notice(self):
        return self.view.inner_text("#notice")

    @property
    def time(self):
        """Seconds, as the page shows them."""
        minutes, seconds = self.view.inner_text("#time").split(":")
        return 60 * int(minutes) + float(seconds)

    def picture(self):
        """The colours on the screen, a row of numbers."""
        return self.ask(
            "(() => { const screen = document.querySelector('#screen');"
            " const copy = new OffscreenCanvas(screen.width, screen.height);"
            " const context = copy.getContext('2d', { willReadFrequently: true });"
            " context.drawImage(screen, 0, 0);"
            " return [...context.getImageData(0, 0, copy.width, copy.height).data]; })()"
        )

"""Writes swagger-ui.png, the picture in the README: the Swagger UI of a real server after a call (`make picture`).

The script starts `log10-server serve` on an empty database, opens /docs in headless Chromium, presses *Try it out* and
*Execute* as a person would, and saves what the browser shows. It needs Chromium (on Debian: `apt install chromium`) and
no Python package. It is run from the checkout's root, as a module, because it shares `tests/browser.py` with the tests.
"""

import base64
import json
import os
import re
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from tests.browser import Browser, find_chromium

PICTURE = Path(__file__).with_name("swagger-ui.png")
WIDTH = 1000
SECONDS_TO_WAIT = 60

# The example of the last operation refers to what the examples of the others create.
OPERATIONS = ["create", "createFeedbackTask", "upload"]

# The picture leaves out the empty parameters, and the curl command, because a token stands in it.
HIDDEN = """
.opblock-section > .opblock-section-header, .opblock-section > .parameters-container, .curl-command, .request-url,
.btn-clear { display: none !important; }
.opblock-body textarea { min-height: 0 !important; height: 200px !important; }
"""


def start_server(folder: Path) -> tuple[subprocess.Popen[bytes], dict[str, str]]:
    """A server on an empty SQLite file, and the variables that its first start prints."""
    environment = {"PATH": os.environ["PATH"], "HOME": os.environ.get("HOME", "/"), "LOG10_SERVER_PORT": "0"}
    program = Path(sys.executable).with_name("log10-server")
    log = folder / "server.log"
    with log.open("wb") as output:
        server = subprocess.Popen([program, "serve"], cwd=folder, env=environment, stdout=output, stderr=output)
    deadline = time.monotonic() + SECONDS_TO_WAIT
    while "Stop with" not in log.read_text():
        if server.poll() is not None or time.monotonic() > deadline:
            sys.exit(f"The server did not start:\n{log.read_text()}")
        time.sleep(0.1)
    return server, dict(re.findall(r"^export (\w+)=(\S+)$", log.read_text(), re.M))


def take_picture(browser: Browser, variables: dict[str, str]) -> bytes:
    """Execute the examples of the operations in the Swagger UI. Returns the last one and its answer as a PNG."""
    browser.send("Emulation.setDeviceMetricsOverride", width=WIDTH, height=900, deviceScaleFactor=1, mobile=False)
    browser.send("Page.navigate", url=f"{variables['LOG10_URL']}/docs")
    browser.wait_for("!!document.querySelector('.opblock')")
    # Swagger UI keeps what a person enters under *Authorize* in the browser's storage, and reads it when it starts.
    browser.evaluate(
        "fetch('/openapi.json').then(answer => answer.json()).then(document => localStorage.setItem('authorized',"
        "JSON.stringify(Object.fromEntries(Object.entries(document.components.securitySchemes).map(([name, schema]) =>"
        f"[name, {{name, schema, value: {json.dumps(variables['LOG10_TOKEN'])}}}])))))"
    )
    browser.evaluate("document.body.replaceChildren()")  # so that the wait below sees the new page, not the old one
    browser.send("Page.reload")
    browser.wait_for("!!document.querySelector('.opblock')")
    for operation in OPERATIONS:
        block = f"document.querySelector('.opblock[id$=-{operation}]')"
        browser.evaluate(f"{block}.querySelector('.opblock-summary-control').click()")
        for button in ("try-out__btn", "execute"):
            browser.wait_for(f"!!{block}.querySelector('.{button}')")
            browser.evaluate(f"{block}.querySelector('.{button}').click()")
        answer = f"{block}.querySelector('.live-responses-table .highlight-code')"
        browser.wait_for(f"!!{answer}")
    style = f"Object.assign(document.createElement('style'), {{textContent: {json.dumps(HIDDEN)}}})"
    browser.evaluate(f"document.head.append({style})")
    browser.evaluate(
        f"[...{block}.querySelectorAll('h4')].filter(title => /^(Curl|Request URL)$/.test(title.textContent.trim()))"
        ".forEach(title => title.remove())"
    )
    clip = browser.evaluate(
        f"((whole, end) => ({{x: whole.x, y: whole.y + scrollY, width: whole.width, scale: 1, "
        f"height: end.bottom + 12 - whole.y}}))({block}.getBoundingClientRect(), {answer}.getBoundingClientRect())"
    )
    picture = browser.send("Page.captureScreenshot", format="png", clip=clip, captureBeyondViewport=True)
    return base64.b64decode(picture["data"])


def main() -> None:
    """Start a server with an example, open its Swagger UI in Chromium, and write the picture."""
    chromium = find_chromium()
    if chromium is None:
        sys.exit("Chromium is not installed. On Debian: apt install chromium. Or name it in the variable CHROMIUM.")
    with tempfile.TemporaryDirectory() as name:
        server, variables = start_server(Path(name))
        try:
            browser = Browser(chromium, Path(name) / "profile")
            try:
                PICTURE.write_bytes(take_picture(browser, variables))
            finally:
                browser.close()
        finally:
            server.terminate()
            server.wait(timeout=SECONDS_TO_WAIT)
    print(f"Wrote {PICTURE}")


if __name__ == "__main__":
    main()

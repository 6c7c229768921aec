"""Take pictures of the page over the example documents, in the sizes and colours that it is made for.

python scripts/screenshot.py            # docs/assets/page.png, the README's picture
python scripts/screenshot.py --all DIR  # 390, 1280 and 2000 pixels wide, light and dark
"""

from __future__ import annotations

import argparse
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

from PIL import Image
from playwright.sync_api import Browser, expect, sync_playwright

ROOT = Path(__file__).parent.parent
QUESTION = "What were the main findings in Q3?"


def main() -> None:
    """Serve the examples, ask, and take the pictures."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--all", metavar="DIR", type=Path, help="write every size and colour into this folder")
    folder = parser.parse_args().all
    program = shutil.which("chromium") or shutil.which("google-chrome")
    with tempfile.TemporaryDirectory() as data, sync_playwright() as playwright:
        served = subprocess.Popen(
            [sys.executable, "-m", "chat_sessions", "ui", "examples/documents", "--port", "0", "--no-open", "--local"],
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
            cwd=ROOT,
            env={"CHAT_SESSIONS_DATA": data, "PATH": "/usr/bin:/bin"},
        )
        try:
            assert served.stdout is not None
            address = served.stdout.readline().strip()
            browser = playwright.chromium.launch(executable_path=program, args=["--no-sandbox"])
            if folder is None:
                picture = ROOT / "docs" / "assets" / "page.png"
                take(browser, address, picture, 1280, "light")
                # A third of the size, and the same to the eye.
                Image.open(picture).quantize(256).save(picture, optimize=True)
            else:
                folder.mkdir(parents=True, exist_ok=True)
                for width in (390, 1280, 2000):
                    for scheme in ("light", "dark"):
                        take(browser, address, folder / f"{width}-{scheme}.png", width, scheme)
            browser.close()
        finally:
            served.terminate()
            served.wait(30)


def take(browser: Browser, address: str, file: Path, width: int, scheme: str) -> None:
    """Ask in a new session and write a picture of it."""
    context = browser.new_context(
        viewport={"width": width, "height": 900},
        color_scheme=scheme,  # type: ignore[arg-type]
        reduced_motion="reduce",
    )
    page = context.new_page()
    page.goto(address)
    page.get_by_role("link", name="New session").click()
    page.get_by_role("textbox", name="Message").fill(QUESTION)
    page.get_by_role("button", name="Send").click()
    expect(page.get_by_role("article")).to_have_count(1)
    expect(page.locator("#status")).to_have_text("Ready")
    source = page.get_by_role("complementary").last.locator("li", has=page.locator("img")).first
    source.locator("summary").click()
    source.get_by_role("img").evaluate("image => image.decode()")
    page.evaluate("window.scrollTo(0, 0)")
    page.screenshot(path=file)
    print(file)
    context.close()


if __name__ == "__main__":
    main()

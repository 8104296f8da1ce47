"""Draw docs/figures/explorer.png: the explorer over what `make demo` made, with what its model rests on.

    python docs/draw_explorer.py demo-out

Needs the extras `web`, `model` and `dev`, and Chromium.
"""

import shutil
import subprocess
import sys
from pathlib import Path

from playwright.sync_api import sync_playwright

OUT = Path(__file__).parent / "figures/explorer.png"
VIEW = "at=SIM100&bins=101&explain=occlusion"


def draw(demo: Path) -> None:
    """Serve the demo's store with its model, and take the picture."""
    command = shutil.which("featurestore") or "featurestore"
    words = ["serve", demo / "genome.store", "--model", demo / "models/gta-best-251"]
    words += ["--annotations", demo / "genome/annotations.tsv", "--port", "0", "--device", "cpu"]
    with subprocess.Popen([command, *words], stdout=subprocess.PIPE, text=True) as server:  # noqa: S603  # ours
        assert server.stdout is not None
        url = next(line.split()[2] for line in server.stdout if line.startswith("serving at"))
        with sync_playwright() as play:
            found = shutil.which("chromium") or shutil.which("google-chrome")
            browser = play.chromium.launch(executable_path=found, args=["--no-sandbox"])
            page = browser.new_page(viewport={"width": 1200, "height": 1000})
            page.goto(f"{url}stores/genome/?{VIEW}")
            page.wait_for_selector("#model[data-turn]")
            bottom = page.locator("#explained .legend").bounding_box()
            assert bottom is not None
            height = bottom["y"] + bottom["height"] + 12
            page.screenshot(path=OUT, full_page=True, clip={"x": 0, "y": 0, "width": 1200, "height": height})
            browser.close()
        server.terminate()
    print(OUT)


if __name__ == "__main__":
    draw(Path(sys.argv[1] if len(sys.argv) > 1 else "demo-out"))

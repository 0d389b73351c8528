"""Measure a report's trial explorer in a real Chromium: the page's size, when it is ready, and how long filtering takes.

make scale SCALE_SIZES="500 10000" ...   # or any other report
python scripts/explorer_times.py reports/digits/index.html
"""

from __future__ import annotations

import argparse
import shutil
from pathlib import Path
from statistics import median

from playwright.sync_api import Page, sync_playwright

FLAGS = ["--no-sandbox", "--disable-gpu", "--no-first-run", "--disable-background-networking", "--disable-sync"]

CLICK = """async index => {
    const box = document.querySelectorAll(".filters input")[index], began = performance.now();
    box.click();
    const worked = performance.now() - began;
    await new Promise(done => requestAnimationFrame(() => setTimeout(done)));
    return [worked, performance.now() - began];
}"""
"""Ticks a filter's box; returns milliseconds of the script, and until what it changed is painted."""


def ready_at(page: Page, address: str) -> float:
    """Open the page; return the milliseconds from the start of loading to the explorer's first drawing."""
    page.goto(address)
    page.wait_for_selector(".explorer[data-ready]")
    return float(page.evaluate("performance.getEntriesByName('explorer-ready')[0].startTime"))


def main() -> None:
    """Measure every page given, and print a line for each."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("pages", nargs="+", type=Path, help="index.html of reports")
    parser.add_argument("--repeats", type=int, default=5, help="loads of each page, and ticks of each of its boxes")
    given = parser.parse_args()
    program = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
    with sync_playwright() as driver:
        chromium = driver.chromium.launch(executable_path=program, args=FLAGS)
        for path in given.pages:
            page = chromium.new_page(viewport={"width": 1280, "height": 900})
            ready = [ready_at(page, path.resolve().as_uri()) for _ in range(given.repeats)]
            page.locator("fieldset[data-column=stage] input:not(:checked)").evaluate_all(
                "all => all.forEach(one => one.click())"
            )
            shown = page.text_content(".explorer .count")
            boxes = page.locator(".filters input").count()
            ticks = [index for _ in range(given.repeats) for index in range(boxes) for _ in ("off", "on again")]
            times = [page.evaluate(CLICK, index) for index in ticks]
            script, painted = zip(*times, strict=True)
            print(
                f"{path}: {path.stat().st_size / 1e6:.2f} MB; ready after {median(ready):.0f} ms "
                f"({min(ready):.0f} to {max(ready):.0f}); {shown}: filtering {median(script):.0f} ms, "
                f"painted after {median(painted):.0f} ms (largest {max(painted):.0f})"
            )
            page.close()
        chromium.close()


if __name__ == "__main__":
    main()

"""axe-core looks at the page, in light and dark, as it opens and with a trial's card open."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

pytestmark = pytest.mark.browser

AXE = Path(__file__).parent / "axe-core-4.14.1" / "axe.min.js"
"""As its authors publish it (Mozilla Public License 2.0, beside it)."""


def violations(page: Any, part: str) -> list[str]:
    """What axe-core objects to in the first such part of a page: rule, reason, and the places of the first three."""
    found = page.evaluate("part => axe.run(document.querySelector(part), {resultTypes: ['violations']})", part)[
        "violations"
    ]
    return [f"{each['id']}: {each['help']}: {[node['target'] for node in each['nodes'][:3]]}" for each in found]


@pytest.fixture
def looked_at(open_page: Any, built_report: Any) -> Callable[[str], Any]:
    def look(scheme: str) -> Any:
        page = open_page(
            built_report.page.as_uri(), scheme=scheme, bypass_csp=True
        )  # the page allows no script but its own
        page.evaluate(AXE.read_text(encoding="utf-8"))
        return page

    return look


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_axe_finds_nothing_on_the_page_and_on_a_trials_card(scheme: str, looked_at: Callable[[str], Any]) -> None:
    page = looked_at(scheme)
    assert violations(page, "body") == []
    page.locator(".trials tbody tr").first.click()
    page.locator("dialog[open]").wait_for()
    assert violations(page, "dialog") == []


def test_axe_would_find_a_picture_without_a_description(looked_at: Callable[[str], Any]) -> None:
    page = looked_at("light")
    page.evaluate("document.querySelector('main img').removeAttribute('alt')")
    assert any(each.startswith("image-alt") for each in violations(page, "main"))

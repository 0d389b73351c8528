"""The page as a reader opens it: from a file, in a real browser, without a network."""

import pytest

pytestmark = pytest.mark.browser


@pytest.fixture(params=[(1280, "light"), (400, "light"), (1280, "dark")], ids=["wide", "narrow", "dark"])
def opened(request, open_page, built_report):
    width, scheme = request.param
    return open_page(built_report.page.as_uri(), width, scheme)


def test_nothing_is_asked_of_a_network_and_nothing_complains(opened):
    assert [url for url in opened.asked if not url.startswith(("file:", "data:"))] == []
    assert opened.heard == []


def test_every_picture_is_drawn(opened):
    sizes = opened.eval_on_selector_all("img", "images => images.map(image => image.naturalWidth)")
    assert len(sizes) >= 8 and min(sizes) > 100


def test_the_answer_comes_first(opened):
    first = opened.locator("ol.findings li").first.bounding_box()
    pictures = opened.locator("img").first.bounding_box()
    assert first["y"] < pictures["y"]


def test_the_page_itself_never_scrolls_sideways(opened):
    assert opened.evaluate("document.documentElement.scrollWidth <= window.innerWidth")


def test_every_entry_of_the_contents_leads_somewhere(opened):
    targets = opened.eval_on_selector_all("nav a", "links => links.map(link => link.getAttribute('href'))")
    assert len(targets) >= 6
    for target in targets:
        assert opened.locator(target).count() == 1


def test_data_behind_figures_are_beside_the_page(opened, built_report):
    links = opened.eval_on_selector_all(".source a", "links => links.map(link => link.getAttribute('href'))")
    assert links
    for link in links:
        assert (built_report.reports / link).exists()


def test_words_have_enough_contrast_in_light_and_dark(opened):
    ratio = opened.evaluate(
        """() => {
            const parse = text => text.match(/[\\d.]+/g).slice(0, 3).map(Number);
            const light = rgb => rgb.map(v => v / 255).map(v => v <= 0.03928 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4)
                .reduce((sum, v, i) => sum + v * [0.2126, 0.7152, 0.0722][i], 0);
            const paper = light(parse(getComputedStyle(document.body).backgroundColor));
            return [...document.querySelectorAll("p, li, td, figcaption, a, h1, h2, h3")].map(element => {
                const ink = light(parse(getComputedStyle(element).color));
                return (Math.max(ink, paper) + 0.05) / (Math.min(ink, paper) + 0.05);
            }).reduce((a, b) => Math.min(a, b));
        }"""
    )
    assert ratio >= 4.5

"""The trial explorer as a reader uses it: what it shows is what pandas reads of trials.csv."""

import io
import re

import pandas as pd
import pytest

from trainatlas.analysis.tables import CURVE_COLUMNS, LAYER_COLUMNS, read_table, scan_table, trial_columns
from trainatlas.report.blocks import Content, Section
from trainatlas.report.explorer import embedded, explorer_data
from trainatlas.report.language import speaking
from trainatlas.report.render import render_html
from trainatlas.report.wording import factor_name, level_name, target_mark

pytestmark = pytest.mark.browser

MEASURED = ["final", "random"]
TEXTS = {"trial_id": str, "user_code": str, "data_digest": str, "error": str}


@pytest.fixture(scope="module")
def trials(built_report):
    return pd.read_csv(built_report.results / "trials.csv", dtype=TEXTS)


@pytest.fixture
def explorer(open_page, built_report):
    """Return a function that opens the explorer, with a state in the address."""

    def open_explorer(state="", width=1280, scheme="light", **options):
        page = open_page(built_report.page.as_uri() + state, width, scheme, **options)
        page.wait_for_selector(".explorer[data-ready]", state="attached")
        return page

    return open_explorer


def ranked(rows, column="final_validation_accuracy", down=True):
    return rows.sort_values([column, "trial_id"], ascending=[not down, True])


def shown(page):
    """Return the table's page as texts, by the heading of the column."""
    return pd.DataFrame(
        page.eval_on_selector_all(
            ".trials tbody tr", "rows => rows.map(row => [...row.cells].map(cell => cell.textContent))"
        ),
        columns=page.eval_on_selector_all(".trials thead th", "cells => cells.map(cell => cell.dataset.column)"),
    )


def count(page):
    return page.text_content(".explorer .count")


def box(page, column, level):
    return page.locator(
        f'fieldset[data-column="{column}"] label', has_text=re.compile(f"^{re.escape(level)}$")
    ).locator("input")


def pictures(page):
    return page.eval_on_selector_all(".explorer canvas", "all => all.map(canvas => canvas.toDataURL())")


def settled(page):
    page.evaluate("() => new Promise(done => requestAnimationFrame(() => requestAnimationFrame(done)))")


def test_at_first_it_shows_the_measured_runs_by_validation_accuracy(explorer, trials):
    page = explorer()
    rows = ranked(trials[trials["stage"].isin(MEASURED)])
    assert count(page) == f"{len(rows)} of {len(trials)} trials"
    table = shown(page)
    assert table["trial_id"].tolist() == rows["trial_id"].head(50).tolist()
    accuracies = table["test_accuracy"].str.rstrip("%").astype(float) / 100
    assert (accuracies.to_numpy() - rows["test_accuracy"].head(50).to_numpy()).__abs__().max() <= 0.000501
    assert table["activation"].tolist() == [
        {"relu": "ReLU", "tanh": "tanh"}[level] for level in rows["activation"].head(50)
    ]
    assert page.locator(".explored .block").first.is_hidden()
    assert page.url.endswith("index.html")


def test_filters_change_the_count_and_the_table_to_what_pandas_says(explorer, trials):
    page = explorer()
    box(page, "stage", "tuning").check()
    assert count(page) == f"{len(trials)} of {len(trials)} trials"
    box(page, "activation", "tanh").uncheck()
    box(page, "init", "He normal").uncheck()
    box(page, "status", "ok").uncheck()
    rows = trials[(trials["activation"] == "relu") & (trials["init"] != "kaiming_normal") & (trials["status"] != "ok")]
    assert 0 < len(rows) < 50
    assert count(page) == f"{len(rows)} of {len(trials)} trials"
    assert shown(page)["trial_id"].tolist() == ranked(rows)["trial_id"].tolist()
    box(page, "activation", "ReLU").uncheck()
    assert count(page) == f"0 of {len(trials)} trials"
    assert len(shown(page)) == 0
    assert "0 trials" in page.get_attribute("canvas.curves", "aria-label")
    page.click(".explorer .reset")
    assert count(page) == f"{trials['stage'].isin(MEASURED).sum()} of {len(trials)} trials"
    assert page.heard == []


def test_every_column_sorts_both_ways_over_all_pages(explorer, trials):
    page = explorer()
    box(page, "stage", "tuning").check()
    pages = -(-len(trials) // 50)
    assert pages > 1
    for column in ("learning_rate", "seed", "test_accuracy", "trial_id"):
        seen = []
        for turn in range(2):
            page.click(f'th[data-column="{column}"] button')
            down = page.get_attribute(f'th[data-column="{column}"]', "aria-sort") == "descending"
            assert page.locator("th[aria-sort]").count() == 1
            table = [shown(page)]
            for number in range(2, pages + 1):
                page.click(".explorer .next")
                assert page.text_content(".explorer .page") == f"Page {number} of {pages}"
                table.append(shown(page))
            ids = pd.concat(table)["trial_id"].tolist()
            assert ids == ranked(trials, column, down)["trial_id"].tolist(), (column, turn)
            seen.append(down)
        assert set(seen) == {True, False}
    assert page.get_attribute(".explorer .next", "aria-disabled") == "true"
    page.dispatch_event(".explorer .next", "click")
    assert page.text_content(".explorer .page") == f"Page {pages} of {pages}"
    page.click(".explorer .previous")
    assert page.text_content(".explorer .page") == f"Page {pages - 1} of {pages}"


def test_all_of_it_is_done_with_the_keyboard(explorer, trials):
    page = explorer()
    where = "document.activeElement"

    def press_until(condition, key="Tab"):
        for _ in range(300):
            if page.evaluate(condition):
                return
            page.keyboard.press(key)
        raise AssertionError(f"no {key} led to {condition}")

    press_until(f"{where}.closest('fieldset')?.dataset.column === 'stage'")
    page.keyboard.press("Space")
    assert count(page) == f"{len(trials)} of {len(trials)} trials"
    press_until(f"{where}.matches('.grouping')")
    page.keyboard.press("ArrowDown")
    assert page.evaluate(f"{where}.value") == "init"
    assert "by initialisation" in page.get_attribute("canvas.curves", "aria-label")
    press_until(f"{where}.closest('th')?.dataset.column === 'seed'")
    page.keyboard.press("Enter")
    assert page.get_attribute('th[data-column="seed"]', "aria-sort") == "descending"
    before = pictures(page)
    press_until(f"{where}.closest('tbody') !== null")
    settled(page)
    assert all(old != new for old, new in zip(before, pictures(page), strict=True))  # the row's trial is lit
    trial_id = page.evaluate(f"{where}.textContent")
    assert trial_id == ranked(trials, "seed")["trial_id"].iloc[0]
    page.keyboard.press("Enter")
    assert page.locator("dialog[open] h3").text_content() == f"Trial {trial_id}"
    assert page.evaluate(f"document.querySelector('dialog').contains({where})")
    page.keyboard.press("Escape")
    assert page.locator("dialog[open]").count() == 0
    assert page.evaluate(f"{where}.textContent") == trial_id
    press_until(f"{where}.matches('.next')")
    page.keyboard.press("Enter")
    assert page.text_content(".explorer .page").startswith("Page 2 of")
    assert page.evaluate(f"{where}.matches('.next')")


def test_a_card_says_all_of_the_right_trial(explorer, trials, built_report):
    own = trials[(trials["status"] == "diverged") & (trials["stage"] == "random")]
    own = (own if len(own) else trials[trials["status"] == "diverged"]).iloc[0]
    page = explorer(f"#explorer?stage={own['stage']}&status=diverged")
    row = page.locator(".trials tbody tr", has_text=own["trial_id"])
    row.locator("td").last.click()
    card = page.locator("dialog[open]")
    facts = dict(
        card.locator("dl > div").evaluate_all(
            "all => all.map(one => [one.querySelector('dt').textContent, one.querySelector('dd').textContent])"
        )
    )
    assert facts["seed"] == str(own["seed"])
    assert facts["network"] == own["network"]
    assert facts["status"] == "diverged"
    assert float(facts["learning rate"]) == pytest.approx(own["learning_rate"], rel=1e-3)
    assert card.locator(".ended").text_content() == "It ended: diverged."
    layers = pd.read_csv(built_report.results / "layers.csv", dtype={"trial_id": str})
    layers = layers[layers["trial_id"] == own["trial_id"]]
    last = layers[layers["step"] == layers["step"].max()]
    cells = card.locator("tbody tr").evaluate_all(
        "rows => rows.map(row => [...row.cells].map(cell => cell.textContent))"
    )
    assert [line[0] for line in cells] == last["layer"].tolist()
    for line, (_, layer) in zip(cells, last.iterrows(), strict=True):
        if pd.notna(layer["dead_fraction"]):
            assert float(line[1].rstrip("%")) == pytest.approx(100 * layer["dead_fraction"], abs=0.056)
        if layer["gradient_norm"] < 1e30:
            assert float(line[3].replace(",", "")) == pytest.approx(layer["gradient_norm"], rel=0.06)
    command = card.locator("pre").text_content().split()
    assert command[:2] == ["trainatlas", "rerun"] and own["trial_id"] in command
    assert command[2].endswith("tiny.yaml")
    assert f"trial={own['trial_id']}" in page.evaluate("location.hash")
    card.locator("button.close").click()
    page.wait_for_function("!location.hash.includes('trial=')")
    assert page.locator("dialog[open]").count() == 0
    assert page.evaluate("document.activeElement.textContent") == own["trial_id"]


def test_a_link_opens_the_same_view_again(explorer, trials):
    page = explorer()
    box(page, "stage", "tuning").check()
    box(page, "init", "normal 0.01").uncheck()
    page.select_option(".grouping", "optimizer")
    page.click('th[data-column="learning_rate"] button')
    page.click('th[data-column="learning_rate"] button')
    shown(page)
    again = explorer(page.evaluate("location.hash"))
    for seen in (count, shown, pictures):
        first, second = seen(page), seen(again)
        assert first.equals(second) if isinstance(first, pd.DataFrame) else first == second
    assert again.input_value(".grouping") == "optimizer"
    assert again.get_attribute('th[data-column="learning_rate"]', "aria-sort") == "ascending"
    assert not box(again, "init", "normal 0.01").is_checked()
    trial_id = trials["trial_id"].iloc[3]
    again.evaluate(f"location.hash = '#explorer?trial={trial_id}'")
    again.wait_for_selector("dialog[open]")
    assert again.locator("dialog h3").text_content() == f"Trial {trial_id}"
    assert count(again).startswith(str(trials["stage"].isin(MEASURED).sum()))
    again.keyboard.press("Escape")
    again.wait_for_function("location.hash === '#explorer'")


def test_an_address_with_nonsense_does_no_harm(explorer, trials):
    page = explorer("#explorer?=&&%E0%A4%A&page=99")
    measured = f"{trials['stage'].isin(MEASURED).sum()} of {len(trials)} trials"
    assert count(page) == measured
    for state, left in {
        "sort=nothing&group=x&trial=z&page=-1": measured,
        "activation=y": f"0 of {len(trials)} trials",
        "stage=": f"0 of {len(trials)} trials",
    }.items():
        page.evaluate("state => { location.hash = '#explorer?' + state; }", state)
        page.wait_for_function("left => document.querySelector('.count').textContent === left", arg=left)
        assert page.text_content(".explorer .page") == "Page 1 of 1"
    assert page.heard == []


def test_links_of_the_contents_lead_where_they_did(explorer):
    page = explorer("#explorer?stage=tuning")
    page.click('nav a[href="#accuracy"]')
    assert page.evaluate("location.hash") == "#accuracy"
    assert abs(page.locator("#accuracy").bounding_box()["y"]) < 50
    straight = explorer("#provenance")
    assert straight.locator("#provenance").bounding_box()["y"] < 900
    assert straight.evaluate("location.hash") == "#provenance"


def test_the_download_is_the_filtered_table(explorer, trials):
    page = explorer()
    box(page, "optimizer", "Adam").uncheck()
    rows = trials[trials["stage"].isin(MEASURED) & (trials["optimizer"] != "adam")]
    assert page.text_content(".explorer .download") == f"Download these {len(rows)} trials (CSV)"
    with page.expect_download() as waiting:
        page.click(".explorer .download")
    assert waiting.value.suggested_filename == "tiny-trials.csv"
    found = pd.read_csv(waiting.value.path(), dtype=TEXTS)
    pd.testing.assert_frame_equal(found, rows.reset_index(drop=True), check_dtype=False)


def test_a_row_lights_its_trial_and_a_line_opens_its_card(explorer, trials):
    page = explorer("#explorer?stage=final&init=kaiming_normal&optimizer=adam&activation=relu")
    before = pictures(page)
    page.hover(".trials tbody tr:nth-child(2)")
    settled(page)
    lit = pictures(page)
    assert all(old != new for old, new in zip(before, lit, strict=True))
    assert page.text_content(".readout").startswith(shown(page)["trial_id"].iloc[1])
    page.hover(".explorer .count")
    settled(page)
    assert pictures(page) == before
    ids = set(shown(page)["trial_id"])
    assert 0 < len(ids) <= 40
    for canvas in (".curves", ".parallel"):
        page.locator(canvas).scroll_into_view_if_needed()
        place = page.locator(canvas).bounding_box()
        for y in range(40, 330, 6):
            page.mouse.click(place["x"] + 0.31 * place["width"], place["y"] + y)
            if page.locator("dialog[open]").count():
                break
        assert page.locator("dialog[open] h3").text_content().removeprefix("Trial ") in ids
        page.keyboard.press("Escape")
    assert page.heard == []


def test_pictures_follow_the_colours_that_the_reader_prefers(explorer):
    page = explorer()
    light = pictures(page)
    page.emulate_media(color_scheme="dark")
    settled(page)
    dark = pictures(page)
    assert all(old != new for old, new in zip(light, dark, strict=True))
    straight = explorer(scheme="dark")
    assert pictures(straight) == dark


@pytest.mark.parametrize("width", [400, 1280])
def test_nothing_scrolls_sideways_asks_the_network_or_complains(width, explorer, trials):
    page = explorer(f"#explorer?stage=tuning&trial={trials['trial_id'].iloc[0]}", width)
    fits = "document.documentElement.scrollWidth <= window.innerWidth"
    assert page.locator("dialog[open]").count() == 1
    assert page.evaluate(fits)
    card = page.locator("dialog[open]").bounding_box()
    assert card["x"] >= 0 and card["x"] + card["width"] <= width
    page.keyboard.press("Escape")
    assert page.evaluate(fits)
    assert page.heard == []
    assert [url for url in page.asked if not url.startswith(("file:", "data:"))] == []


CONTRAST = """() => {
    const parse = text => { const [r, g, b, a] = text.match(/[\\d.]+/g).map(Number); return {rgb: [r, g, b], a: a ?? 1}; };
    const light = rgb => rgb.map(v => v / 255).map(v => v <= 0.03928 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4)
        .reduce((sum, v, i) => sum + v * [0.2126, 0.7152, 0.0722][i], 0);
    const paper = element => {
        for (; element; element = element.parentElement) {
            const found = parse(getComputedStyle(element).backgroundColor);
            if (found.a > 0) return found.rgb;
        }
        return [255, 255, 255];
    };
    return [...document.querySelectorAll(".explorer button, .explorer label, .explorer legend, "
        + ".explorer p, .explorer td, .explorer th, "
        + ".explorer select, .explorer figcaption, .explorer dt, .explorer dd, .explorer h3, .explorer h4, .explorer code")]
        .filter(element => element.textContent.trim())
        .map(element => {
            const [ink, ground] = [light(parse(getComputedStyle(element).color).rgb), light(paper(element))];
            return [(Math.max(ink, ground) + 0.05) / (Math.min(ink, ground) + 0.05), element.outerHTML.slice(0, 80)];
        }).reduce((a, b) => a[0] < b[0] ? a : b);
}"""


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_words_can_be_read_and_everything_has_a_name(scheme, explorer, trials):
    page = explorer(f"#explorer?trial={trials['trial_id'].iloc[0]}", scheme=scheme)
    ratio, where = page.evaluate(CONTRAST)
    assert ratio >= 4.5, where
    assert page.get_by_role("dialog", name=f"Trial {trials['trial_id'].iloc[0]}").count() == 1
    page.keyboard.press("Escape")
    for name in ("activation", "initialisation", "stage", "status"):
        assert page.get_by_role("group", name=name, exact=True).count() == 1
    assert page.get_by_role("combobox", name="Group by").count() == 1
    assert page.get_by_role("checkbox", name="He normal", exact=True).count() == 1
    assert (
        page.get_by_role(
            "img", name=re.compile("^Training loss and validation accuracy against epochs, .*ReLU: loss")
        ).count()
        == 1
    )
    assert (
        page.get_by_role("img", name=re.compile("^Parallel coordinates of .* trials: activation, .*median ")).count()
        == 1
    )
    assert page.get_by_role("columnheader", name="validation accuracy").get_attribute("aria-sort") == "descending"
    page.focus("fieldset input")
    assert page.evaluate("getComputedStyle(document.activeElement).outlineStyle") == "solid"


def test_what_is_told_of_a_trial_pointed_at_moves_nothing_below(explorer):
    page = explorer()
    page.set_viewport_size({"width": 420, "height": 900})
    rows = page.locator(".trials tbody tr")
    before = rows.first.evaluate("row => row.getBoundingClientRect().top + scrollY")
    rows.first.hover()
    page.wait_for_function("document.querySelector('.explorer .readout').textContent !== ''")
    after = rows.first.evaluate("row => row.getBoundingClientRect().top + scrollY")
    assert after == before, "a click would miss what it was aimed at"


def test_without_javascript_the_best_and_worst_are_listed(open_page, built_report, trials):
    page = open_page(built_report.page.as_uri(), java_script_enabled=False)
    assert page.locator(".explorer").is_hidden()
    assert page.locator("noscript").is_visible()
    rows = ranked(trials[trials["stage"].isin(MEASURED)])
    assert page.locator("#explorer-1 tbody tr").first.locator("td").nth(1).text_content() == rows["trial_id"].iloc[0]
    assert page.locator("#explorer-2 tbody tr").count() == 10


def test_on_paper_the_table_takes_the_explorers_place(explorer):
    page = explorer()
    page.emulate_media(media="print")
    assert page.locator(".explorer").is_hidden()
    assert page.locator("#explorer-1 table").is_visible()


def test_markup_in_levels_errors_and_layers_is_text(open_page, built_report, tmp_path):
    study, results = built_report.study, built_report.results
    trials = read_table(results / "trials.csv", trial_columns(study), "test")
    scans = [
        pd.concat(scan_table(results / f"{name}.csv", columns, "test"))
        for name, columns in (("curves", CURVE_COLUMNS), ("layers", LAYER_COLUMNS))
    ]
    odd = trials["activation"] == "tanh"
    bad = """<img src=x onerror=alert(1)> <script>alert("x")</script> & 'quotes' — 한국어 🙂,\n"end\""""
    trials = trials.assign(
        activation=trials["activation"].where(~odd, bad), status=trials["status"].where(~odd, "failed"), error=bad
    )
    layers = scans[1].assign(layer=bad)
    data = embedded(explorer_data(study, trials, [scans[0]], [layers], results))
    content = Content("t", "q", [], [], [Section("explorer", "Trials")], "d")
    (tmp_path / "page.html").write_text(render_html(content, printed=False, explorer=data), encoding="utf-8")
    page = open_page((tmp_path / "page.html").as_uri() + "#explorer?status=failed")
    page.on("dialog", lambda dialog: page.heard.append("alert"))
    page.wait_for_selector(".explorer[data-ready]")
    assert page.locator("fieldset[data-column=activation] label").last.text_content() == bad
    page.click(".trials tbody button")
    assert page.locator("dialog .ended").text_content() == f"It ended: failed: {bad}."
    assert page.locator("dialog tbody th").first.text_content() == bad
    page.keyboard.press("Escape")
    with page.expect_download() as waiting:
        page.click(".explorer .download")
    found = pd.read_csv(io.BytesIO(waiting.value.path().read_bytes()), dtype=TEXTS)
    assert set(found["error"]) == set(found["activation"]) == {bad}
    assert page.locator(".explorer img, .explorer script:not(#explorer-data)").count() == 0
    again = open_page(page.url)
    again.wait_for_selector(".explorer[data-ready]")
    assert count(again) == count(page)
    assert page.heard == [] and page.asked == [page.url.partition("#")[0]]


DRAWN = """
    window.drawn = [];
    const draw = CanvasRenderingContext2D.prototype.fillText;
    CanvasRenderingContext2D.prototype.fillText = function (text, ...where) {
        window.drawn.push(text);
        return draw.call(this, text, ...where);
    };
"""
"""Keeps every text that is drawn."""
SAID = """() => [...document.querySelectorAll(".explorer, .explorer :not(pre, pre *)")].flatMap(element => [
    element.getAttribute("aria-label") ?? "",
    ...[...element.childNodes].filter(child => child.nodeType === Node.TEXT_NODE).map(child => child.textContent),
]).concat(window.drawn)"""


@pytest.fixture
def korean(open_page, built_report, tmp_path):
    """Return a function that opens the explorer in Korean, with a state in the address."""
    study, results = built_report.study, built_report.results
    trials = read_table(results / "trials.csv", trial_columns(study), "test")
    parts = [
        scan_table(results / f"{name}.csv", columns, "test")
        for name, columns in (("curves", CURVE_COLUMNS), ("layers", LAYER_COLUMNS))
    ]
    with speaking("ko"):
        data = embedded(explorer_data(study, trials, *parts, results))
        content = Content("t", "q", [], [], [Section("explorer", "t")], "d")
    path = tmp_path / "page.html"
    path.write_text(render_html(content, printed=False, explorer=data), encoding="utf-8")

    def open_korean(state=""):
        page = open_page("about:blank")
        page.add_init_script(DRAWN)
        page.goto(path.as_uri() + state)
        page.wait_for_selector(".explorer[data-ready]")
        return page

    return open_korean


def test_a_korean_explorer_has_korean_labels_captions_and_column_heads(korean, trials):
    page = korean()
    measured = trials["stage"].isin(MEASURED).sum()
    assert count(page) == f"시행 {len(trials)}개 중 {measured}개"
    assert page.text_content(".explorer .reset") == "처음 상태로"
    assert page.text_content(".explorer .download") == f"시행 {measured}개 내려받기(CSV)"
    assert page.text_content(".explorer .next") == "다음 50개"
    assert page.text_content("#explorer-table") == "선택한 시행"
    heads = page.locator(".trials thead th").all_text_contents()
    assert {"시행", "단계", "검증 정확도", "테스트 정확도", "학습률", "시드", "상태"} <= set(heads)
    assert page.text_content(".curves-caption").startswith("선 하나가 시행 하나이다.")
    assert page.text_content(".parallel-caption").startswith("시행마다")
    assert page.get_by_role("img", name=re.compile("^에포크에 따른 훈련 손실과 검증 정확도")).count() == 1
    assert box(page, "stage", "최종").is_checked() and not box(page, "stage", "조율").is_checked()
    box(page, "stage", "조율").check()
    assert page.text_content(".curves-caption").startswith("선: 중앙값. 띠:")
    assert "stage=tuning" in page.evaluate("location.hash")
    with page.expect_download() as waiting:
        page.click(".explorer .download")
    assert list(pd.read_csv(waiting.value.path(), nrows=1).columns) == list(trials.columns)


def test_a_korean_explorer_has_no_english_word_of_its_own(korean, built_report, trials):
    study = built_report.study
    layers = pd.read_csv(built_report.results / "layers.csv")["layer"]
    with speaking("ko"):
        names = {level_name(level) for factor in study.factors for level in study.factors[factor]}
        names |= {factor_name(factor) for factor in study.factors} | {target_mark(target) for target in study.targets}
    texts = trials.select_dtypes(["object", "string"])
    names |= {"CSV", "nat", *layers, *(str(cell) for name in texts for cell in texts[name].dropna())}
    names -= {*trials["stage"], *trials["status"]}
    trial_id = trials.loc[trials["status"] == "diverged", "trial_id"].iloc[0]
    for state in ("", "stage=tuning&stage=final&stage=random", "group=", "stage=", f"stage=tuning&trial={trial_id}"):
        page = korean(f"#explorer?{state}" if state else "")
        if state.endswith(trial_id):
            assert page.text_content("dialog h3") == f"시행 {trial_id}"
            assert page.text_content("dialog .ended") == "종료 상태: 발산."
            assert page.text_content("dialog .close") == "닫기"
        else:
            page.hover(".trials thead")
            if page.locator(".trials tbody tr").count():
                page.hover(".trials tbody tr")
                settled(page)
                assert "검증 정확도" in page.text_content(".readout")
        said = "\n".join(page.evaluate(SAID))
        assert "에포크" in said
        for name in sorted(names, key=len, reverse=True):
            said = re.sub(rf"(?<![A-Za-z]){re.escape(name)}(?![A-Za-z])", "", said)
        assert set(re.findall("[A-Za-z]{2,}", said)) == set(), state
        assert page.heard == []

"""The markup of the pages, without a browser: what a search engine, a screen reader and a thumb look for."""

import re
from html.parser import HTMLParser
from importlib import resources
from itertools import pairwise

import pytest
from test_report import make_run

from synevo.plan.compose import compose
from synevo.report.comparison import compare
from synevo.report.page.html import render_comparison, render_page
from synevo.report.summary import summarise

VOID = {"meta", "link", "img", "input", "br"}
LEAST_CONTRAST = 4.5  # of text, as WCAG 2.2 asks (1.4.3)


class Elements(HTMLParser):
    """The elements of a page outside its drawings: their attributes, and the text within each."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.found = list[tuple[str, dict[str, str | None], list[str]]]()
        self.open = list[tuple[str, list[str]]]()
        self.feed(re.sub(r"<svg.*?</svg>", "", page, flags=re.DOTALL))

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        words = list[str]()
        self.found.append((tag, dict(attrs), words))
        if tag not in VOID:
            self.open.append((tag, words))

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop()[0] == tag, f"a </{tag}> closes another element"

    def handle_data(self, data: str) -> None:
        for _, words in self.open:
            words.append(data)

    def of(self, *tags: str) -> list[tuple[dict[str, str | None], str]]:
        return [(attrs, " ".join("".join(words).split())) for tag, attrs, words in self.found if tag in tags]


@pytest.fixture(scope="module", params=["one", "several"])
def page(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Elements:
    folder = tmp_path_factory.mktemp("markup")
    if request.param == "one":
        run = make_run(folder / "run")
        return Elements(render_page(run, summarise(run)))
    plans = [compose(sets=[f"seed={seed}"]) for seed in (0, 1)]
    runs = [summarise(make_run(folder / f"r-{place}", plan)) for place, plan in enumerate(plans)]
    return Elements(render_comparison(compare(runs), {"r-0": "r-0/report/index.html"}))


def test_a_page_names_its_language_itself_and_what_it_is_about(page: Elements) -> None:
    assert page.of("html")[0][0]["lang"] == "en"
    ((_, title),) = page.of("title")
    assert 5 <= len(title) <= 70
    named = {attrs["name"]: attrs["content"] or "" for attrs, _ in page.of("meta") if "name" in attrs}
    assert "width=device-width" in named["viewport"]
    assert "user-scalable" not in named["viewport"]
    assert 20 <= len(named["description"]) <= 200


def test_headings_are_in_order(page: Elements) -> None:
    levels = [int(tag[1]) for tag, _, _ in page.found if re.fullmatch("h[1-6]", tag)]
    assert levels[0] == 1
    assert levels.count(1) == 1
    assert all(after <= before + 1 for before, after in pairwise(levels)), "no level is left out"
    assert all(text for _, text in page.of("h1", "h2", "h3"))


def test_pictures_have_a_text_and_a_size_so_that_nothing_moves_when_they_come(page: Elements) -> None:
    for attrs, _ in page.of("img"):
        assert attrs["alt"]
        assert int(attrs["width"] or 0) > 0
        assert int(attrs["height"] or 0) > 0


def test_whatever_can_be_pressed_or_scrolled_has_a_name(page: Elements) -> None:
    assert all(text for _, text in page.of("button", "a", "summary", "label"))
    assert all(attrs.get("aria-label") for attrs, _ in page.of("div") if attrs.get("role") == "region")
    assert all(attrs["scope"] in {"col", "row"} for attrs, _ in page.of("th"))


def test_names_within_a_page_are_unique_and_lead_somewhere(page: Elements) -> None:
    names = [attrs["id"] for _, attrs, _ in page.found if "id" in attrs]
    assert len(names) == len(set(names))
    led = [attrs["href"] or "" for attrs, _ in page.of("a")]
    assert {one[1:] for one in led if one.startswith("#")} <= set(names)
    assert {attrs["aria-labelledby"] for attrs, _ in page.of("section")} <= set(names)


STYLE = (resources.files("synevo.report.page") / "templates/page.css").read_text("utf-8")


def luminance(colour: str) -> float:
    parts = [int(colour[place : place + 2], 16) / 255 for place in (1, 3, 5)]
    red, green, blue = (one / 12.92 if one <= 0.04045 else ((one + 0.055) / 1.055) ** 2.4 for one in parts)
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue


def contrast(one: str, other: str) -> float:
    low, high = sorted([luminance(one), luminance(other)])
    return (high + 0.05) / (low + 0.05)


def test_the_contrast_of_black_and_white_is_known() -> None:
    assert contrast("#000000", "#ffffff") == pytest.approx(21)
    assert contrast("#767676", "#ffffff") == pytest.approx(4.54, abs=0.01)


@pytest.mark.parametrize("theme", ["light", "dark"])
def test_every_text_can_be_read_on_its_ground(theme: str) -> None:
    rules = STYLE if theme == "light" else STYLE.partition("prefers-color-scheme: dark")[2]
    colours = dict(re.findall(r"--(\w+): (#[0-9a-f]{6})", rules.partition("}")[0]))
    texts = [("ink", "paper"), ("muted", "paper"), ("ours", "paper"), ("warn", "paper"), ("warn", "warnwell")]
    for text, ground in [*texts, ("ink", "well"), ("muted", "well")]:
        assert contrast(colours[text], colours[ground]) >= LEAST_CONTRAST, (text, ground)


@pytest.mark.parametrize("rule", ["nav a", "fieldset label", "summary", "button"])
def test_what_is_pressed_is_as_high_as_a_thumb_needs(rule: str) -> None:
    least, line, root = 24, 1.55, 16  # pixels (WCAG 2.2, 2.5.8), of the body's font
    said = " ".join(re.findall(rf"(?:^|}} ){rule} {{([^}}]*)}}", STYLE, re.MULTILINE))
    padding = float(re.findall(r"padding: (\d+)px", said)[-1])
    size = float((re.findall(r"font-size: (\d*\.\d+)rem", said) or [".875"])[-1])
    assert size * root * line + 2 * padding >= least

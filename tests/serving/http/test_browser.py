"""The homepage in a real Chromium: on a desk, on a phone, in the dark, and by keyboard alone.

``REELFLOW_PICTURES=DIR`` saves pictures for docs/images; with ``REELFLOW_PICTURES_OF=HOME@ISO`` those are of that workspace at
that time.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.serving.builders import fallback, publication, rows
from tests.serving.http import world
from tests.serving.http.chromium import PROGRAM, Page, chromium
from tests.serving.http.clients import Server, serving

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(PROGRAM is None, reason="no Chromium on the PATH; on Debian: apt-get install chromium"),
]

PICTURES = os.environ.get("REELFLOW_PICTURES")
DESK, PHONE = (1440, 1000), (375, 812)
FIRST = world.videos_of(42, world.DAYS[1])
FOCUS = "document.activeElement"
CONTRAST = """
(element) => {
  const numbers = (text) => text.match(/[0-9.]+/g).map(Number);
  const light = (text) => {
    const parts = numbers(text).slice(0, 3).map((part) => part / 255);
    const [r, g, b] = parts.map((part) => (part <= 0.03928 ? part / 12.92 : ((part + 0.055) / 1.055) ** 2.4));
    return 0.2126 * r + 0.7152 * g + 0.0722 * b;
  };
  let ground = element;
  while (ground && (numbers(getComputedStyle(ground).backgroundColor)[3] ?? 1) < 1) ground = ground.parentElement;
  const behind = ground ? getComputedStyle(ground).backgroundColor : 'rgb(255, 255, 255)';
  const [most, least] = [light(getComputedStyle(element).color), light(behind)].sort((a, b) => b - a);
  return (most + 0.05) / (least + 0.05);
}
"""
"""What WCAG 2 calls the contrast of a text."""


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    found = tmp_path_factory.mktemp("home")
    world.make(found)
    return found


@pytest.fixture(scope="module")
def server(home: Path) -> Iterator[Server]:
    with serving(home, home / "store" / "recommendations.sqlite", "--page", "--at", world.NOW) as found:
        yield found


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Page]:
    with chromium(tmp_path_factory.mktemp("profile")) as found:
        yield found


@pytest.fixture
def page(browser: Page) -> Iterator[Page]:
    browser.problems.clear()
    browser.look(*DESK)
    yield browser
    assert browser.problems == []  # neither errors, nor what the security policy refused, nor another host


def text(page: Page, selector: str) -> str:
    found = page.value(f"document.querySelector({selector!r}).innerText")
    return re.sub(r"\s+", " ", found).strip()


def shown(page: Page) -> list[int]:
    return [int(video) for video in page.value("[...document.querySelectorAll('.card')].map((card) => card.dataset.video)")]


def contrasts(page: Page) -> list[tuple[str, float]]:
    """Texts whose contrast is below what WCAG asks at level AA: 4.5."""
    found = page.value(
        "[...document.querySelectorAll('h1,h2,h3,p,a,button,label,.meta,.reason,.badge,.moved,dt,dd,th,td,.pill span,.muted')]"
        ".filter((one) => one.checkVisibility() && one.innerText.trim() && !one.closest('.hidden, .skip'))"
        f".map((one) => [`${{one.className}} ${{one.innerText}}`, ({CONTRAST})(one)])"
    )
    return [(what, round(ratio, 2)) for what, ratio in found if ratio < 4.5]


class TestDesk:
    def test_shows_a_users_homepage(self, page: Page, server: Server) -> None:
        page.open(server.url)
        assert text(page, "h1") == "User 42"
        assert text(page, "#freshness") == "✓ Fresh · 5 hours old"
        assert shown(page) == FIRST[:24]
        card = text(page, f".card[data-video='{FIRST[0]}']")
        assert re.fullmatch(r"1 .*Length .* \(\d+\) Creator \d+ \d+(\.\d)?K views · .* old · English Day 8", card), card
        assert page.value("document.querySelectorAll('#watched-list li').length") == 2
        assert text(page, "#watched-list li .meta") == "2 hours before"
        page.value("document.getElementById('more').click()")
        assert shown(page) == FIRST

    def test_says_why_a_video_is_there(self, page: Page, server: Server) -> None:
        page.open(f"{server.url}/?user=42")
        page.value("document.querySelectorAll('.card')[0].click()")
        page.until("document.querySelector('#why .bars')")
        said = text(page, "#why")
        assert f"RANK 1 OF 60 · VIDEO {FIRST[0]}" in said
        assert "Two-tower retrieval place 1" in said
        assert "Not too much of one creator down, from 1 to 2" in said
        assert "Ranker +1.000" in said

    def test_shows_yesterdays_list_beside_todays(self, page: Page, server: Server) -> None:
        page.open(f"{server.url}/?user=42")
        page.value("document.getElementById('tab-days').click()")
        assert text(page, "#days-summary") == "30 of 60 videos were there the day before, 30 are new, 30 have gone."
        assert text(page, "#before-title") == "The day before · Tue, 6 Jan 2026"
        assert text(page, "#before li").endswith("gone gone")
        assert text(page, "#today li").endswith("▲ 30 up by 30")
        assert text(page, "#today li:last-child").endswith("new new")

    def test_shows_what_a_new_visitor_would_see(self, page: Page, server: Server) -> None:
        page.open(f"{server.url}/?user=42")
        page.value("document.getElementById('country').value = 'DE'; document.getElementById('visitor-form').requestSubmit()")
        page.until("document.querySelector('h1').textContent === 'New visitor'")
        assert text(page, "#subtitle").startswith("Fallback list for Germany 60 videos")
        assert page.value("location.search") == "?country=DE"
        page.value("history.back()")
        page.until("document.querySelector('h1').textContent === 'User 42'")

    def test_an_unknown_user_is_shown_the_fallback_and_told_so(self, page: Page, server: Server) -> None:
        page.open(f"{server.url}/?user=999")
        assert text(page, "#subtitle").startswith("No list of their own · Fallback list for everybody")
        assert text(page, "#watched-remark") == "User 999 is not in user_features, dt=2026-01-07."

    def test_says_what_is_live(self, page: Page, server: Server) -> None:
        page.open(server.url)
        state = text(page, "#state")
        assert state == "✓ Fresh Knows everything before Thu, 8 Jan 2026, 00:00 UTC, 5 hours ago. Expires in 1 day."
        assert text(page, "#publications") == "1 live Thu, 8 Jan 2026, 00:00 UTC 3 2026-01-08-small"

    def test_after_a_rollback_the_model_is_that_of_what_is_live(self, page: Page, tmp_path: Path) -> None:
        store = world.make(tmp_path)
        store.publish(publication(9, 2), rows(9, 2), fallback(9, 2), 3)
        store.rollback(reason="a test")
        with serving(tmp_path, store.path, "--page", "--at", world.NOW) as back:
            page.open(back.url)
            assert text(page, "#live-facts").endswith("Model 2026-01-08-small")
            assert [
                row.split()[:2] for row in page.value("document.getElementById('publications').innerText").splitlines()
            ] == [
                ["2", "rolled"],
                ["1", "live"],
            ]

    def test_a_mistyped_user_is_explained(self, page: Page, server: Server) -> None:
        page.open(f"{server.url}/?user={2**63}")
        assert text(page, "#notice").startswith(
            "query user_id: 9223372036854775808 Expected Input should be less than or equal"
        )
        page.problems.clear()  # the refusal itself


def test_ids_of_64_bits_are_exact(page: Page, tmp_path: Path) -> None:
    """JavaScript's numbers are exact up to 2**53: the user here is one more, and every second video would be another one."""
    above = 2**53 + 1 - 42
    user, first = 2**53 + 1, [video + above for video in FIRST]
    store = world.make(tmp_path, above)
    with serving(tmp_path, store.path, "--page", "--at", world.NOW) as large:
        page.open(large.url)
        assert text(page, "h1") == f"User {user}"
        assert page.value("document.querySelector('#samples [aria-current]').href").endswith(f"/?user={user}")
        assert shown(page) == first[:24]
        assert f"Creator {10 + FIRST[0] % 9 + above} " in text(page, f".card[data-video='{first[0]}']")
        said = page.value("document.getElementById('days-summary').textContent")  # of a panel that is not shown
        assert said == "30 of 60 videos were there the day before, 30 are new, 30 have gone."
        for place in (0, 1):
            page.value(f"document.querySelectorAll('.card')[{place}].click()")
            page.until("document.querySelector('#why[open] .bars')")
            assert f"VIDEO {first[place]}" in text(page, "#why")
            page.value("document.getElementById('why').close()")
        page.value("document.querySelectorAll('#samples a')[1].click()")
        page.until(f"document.querySelector('h1').textContent === 'User {user + 1}'")
        assert page.value("document.querySelectorAll('.card')[0].dataset.video") == str(
            world.videos_of(43, world.DAYS[1])[0] + above
        )


def test_a_stale_store_is_alarming(browser: Page, home: Path) -> None:
    browser.look(*DESK)
    with serving(home, home / "store" / "recommendations.sqlite", "--page", "--at", world.STALE) as late:
        browser.open(f"{late.url}/?user=42")
        assert text(browser, "#freshness") == "! Stale · 2 days old"
        assert "Own list Stale 60 videos" in text(browser, "#subtitle")
        assert "Expired 5 hours ago: look at the pipeline." in text(browser, "#state")
        assert contrasts(browser) == []


class TestKeyboard:
    def test_everything_can_be_reached_and_done(self, page: Page, server: Server) -> None:
        page.open(server.url)
        page.press("Tab")
        assert page.value(f"{FOCUS}.className") == "skip"
        page.press("Tab", 2)
        assert page.value(f"{FOCUS}.id") == "user-id"
        page.value(f"{FOCUS}.select()")
        for character in "43":
            page.press(character)
        page.press("Enter")
        page.until("document.querySelector('h1').textContent === 'User 43'")
        for _ in range(40):
            page.press("Tab")
            assert page.value(f"{FOCUS}.matches(':focus-visible') && getComputedStyle({FOCUS}).outlineStyle !== 'none'")
            if page.value(f"{FOCUS}.classList.contains('card')"):
                break
        assert page.value(f"{FOCUS}.dataset.video") == str(world.videos_of(43, world.DAYS[1])[0])
        columns = page.value("getComputedStyle(document.getElementById('grid')).gridTemplateColumns.split(' ').length")
        moves = (
            ("ArrowRight", 1),
            ("ArrowDown", 1 + columns),
            ("ArrowLeft", columns),
            ("ArrowUp", 0),
            ("End", 23),
            ("Home", 0),
        )
        for key, place in moves:
            page.press(key)
            assert page.value(f"[...document.querySelectorAll('.card')].indexOf({FOCUS})") == place, key
        page.press("Enter")
        page.until("document.querySelector('#why[open] .bars')")
        assert page.value(f"{FOCUS}.getAttribute('aria-label')") == "Close"
        page.press("Escape")
        page.until("!document.querySelector('#why[open]')")
        assert page.value(f"[...document.querySelectorAll('.card')].indexOf({FOCUS})") == 0
        page.press("Tab", shift=True)
        assert page.value(f"{FOCUS}.id") == "tab-grid"
        page.press("ArrowRight")
        assert page.value(f"[{FOCUS}.id, document.getElementById('panel-days').hidden]") == ["tab-days", False]

    def test_what_is_not_seen_is_said(self, page: Page, server: Server) -> None:
        page.open(f"{server.url}/?user=42")
        assert text(page, "#said") == "User 42: 60 videos"
        nameless = page.value(
            "[...document.querySelectorAll('button, a, input, select, dialog, table, [tabindex=\"0\"]')].filter((one) =>"
            " !(one.innerText?.trim() || one.ariaLabel || one.labels?.length || one.getAttribute('aria-labelledby'))).length"
        )
        assert nameless == 0
        assert page.value("[...document.querySelectorAll('h1')].length") == 1
        tree = page.ask("Accessibility.getFullAXTree")["nodes"]
        roles = {node["role"]["value"] for node in tree if "role" in node}
        assert {"banner", "main", "navigation", "search", "tablist", "tab", "tabpanel", "list", "status"} <= roles


@pytest.mark.parametrize("dark", [False, True], ids=["light", "dark"])
@pytest.mark.parametrize("size", [DESK, PHONE], ids=["desk", "phone"])
def test_fits_and_can_be_read(page: Page, server: Server, size: tuple[int, int], dark: bool) -> None:
    page.look(*size, dark=dark, touch=size == PHONE)
    page.open(f"{server.url}/?user=42")
    assert page.value("document.documentElement.scrollWidth") == size[0]
    assert contrasts(page) == []
    page.value("document.querySelectorAll('.card')[0].click()")
    page.until("document.querySelector('#why .bars')")
    assert contrasts(page) == []
    box = page.value(
        "(({left, right, top, bottom}) => [left, right, top, bottom])(document.getElementById('why').getBoundingClientRect())"
    )
    assert 0 <= box[0] < box[1] <= size[0]
    assert 0 <= box[2] < box[3] <= size[1]
    page.value("document.getElementById('why').close(); document.getElementById('tab-days').click()")
    assert page.value("document.documentElement.scrollWidth") == size[0]
    assert contrasts(page) == []


def test_nothing_moves_where_that_is_not_wanted(page: Page, server: Server) -> None:
    page.open(f"{server.url}/?user=42")
    assert page.value("getComputedStyle(document.querySelector('.card .thumb')).transitionDuration") == "0s"
    page.look(*DESK, still=False)
    assert page.value("getComputedStyle(document.querySelector('.card .thumb')).transitionDuration") != "0s"


@pytest.mark.skipif(not PICTURES, reason="REELFLOW_PICTURES names no folder for pictures")
def test_pictures(browser: Page, server: Server) -> None:
    folder = Path(PICTURES or "")
    of, _, at = os.environ.get("REELFLOW_PICTURES_OF", "").rpartition("@")
    if not of:
        take(browser, server.url, folder)
        return
    with serving(Path(of), Path(of) / "store" / "recommendations.sqlite", "--page", "--at", at) as other:
        take(browser, other.url, folder)


def take(page: Page, url: str, folder: Path) -> None:
    views: tuple[tuple[str, tuple[int, int], dict[str, Any], str], ...] = (
        ("homepage", DESK, {}, "null"),
        ("homepage-why", DESK, {}, "document.querySelectorAll('.card')[1].click()"),
        (
            "homepage-yesterday",
            DESK,
            {},
            "document.getElementById('tab-days').click(), document.getElementById('shown').scrollIntoView()",
        ),
        ("homepage-live", (1440, 760), {}, "document.getElementById('live').scrollIntoView()"),
        ("homepage-dark", DESK, {"dark": True}, "null"),
        ("homepage-phone", PHONE, {"touch": True}, "null"),
        ("homepage-phone-dark", PHONE, {"touch": True, "dark": True}, "document.getElementById('shown').scrollIntoView()"),
    )
    for name, size, kind, first in views:
        page.look(*size, **kind)
        page.open(url)
        page.value(first)
        page.until("!document.querySelector('#why[open]') || document.querySelector('#why .bars')")
        page.value("new Promise((done) => requestAnimationFrame(() => requestAnimationFrame(done)))")
        page.picture(folder / f"{name}.png")

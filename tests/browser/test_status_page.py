"""The status page in a real browser: for eyes that see little, for keys, for readers, for phones."""

from __future__ import annotations

from itertools import pairwise

import msgspec
import pytest

from shared.operate.status.report import Drift, HourState, Pin, Problem, ViewSource, ViewStatus
from tests.browser import states
from tests.kit.reports import NOW, SNAPSHOT, failure, failures, held, log, report, table

HOSTILE = "<script>alert(1)</script>\"'><img src=x onerror=alert(2)>"

SCHEMES = pytest.mark.parametrize("scheme", ["light", "dark"])

#: For every element that shows text of its own, or by CSS: that text, and the contrast with what is behind it
#: (https://www.w3.org/TR/WCAG22/#dfn-contrast-ratio).
CONTRASTS = """() => {
  const channels = color => color.match(/[\\d.]+/g).map(Number);
  const light = ([r, g, b]) => [r, g, b].map(c => c / 255)
    .map(c => c <= 0.04045 ? c / 12.92 : ((c + 0.055) / 1.055) ** 2.4)
    .reduce((sum, c, n) => sum + c * [0.2126, 0.7152, 0.0722][n], 0);
  const behind = element => {
    for (let e = element; e; e = e.parentElement) {
      const [r, g, b, a = 1] = channels(getComputedStyle(e).backgroundColor);
      if (a === 1) return [r, g, b];
      if (a !== 0) throw new Error('half transparent: ' + e.className);
    }
    return [255, 255, 255];
  };
  const ratio = (one, other) => {
    const [high, low] = [light(one), light(other)].sort((a, b) => b - a);
    return (high + 0.05) / (low + 0.05);
  };
  const found = {};
  for (const element of document.body.querySelectorAll('*')) {
    if (element.closest('i, svg')) continue;
    const own = [...element.childNodes].some(node => node.nodeType === 3 && node.data.trim());
    for (const of of [own && null, '::before']) {
      if (of === false) continue;
      const style = getComputedStyle(element, of);
      if (of && ['none', 'normal'].includes(style.content)) continue;
      const where = [element.tagName, element.className, of || '', style.color, behind(element)].join(' ');
      found[where] = ratio(channels(style.color), behind(element));
    }
  }
  // Of what is no text, 3 is asked, not 4.5.
  for (const path of document.querySelectorAll('svg path'))
    found['bar'] = ratio(channels(getComputedStyle(path).stroke), behind(path)) * 1.5;
  return found;
}"""


def everything():
    """A report in which everything occurs that the page can show."""
    hours = log()
    for n, state in enumerate(HourState):
        first = hours.days[0].hours
        changed = msgspec.structs.replace(first[n], state=state, rows=n * 4_000, late_rows=3, batches=2, kept_rows=n)
        day = msgspec.structs.replace(hours.days[0], hours=(*first[:n], changed, *first[n + 1 :]), damaged="cut off")
        hours = msgspec.structs.replace(hours, days=(day, *hours.days[1:]))
    hours = msgspec.structs.replace(hours, causes=states.failed_hours("x" * 900, "20261123T04", "20261120T05").causes)
    return report(
        attention=True,
        problems=(Problem("hours", "the bucket is closed", "another_log"),),
        tables=(
            table(),
            table(
                "held",
                fresh=False,
                held=(held("held"),),
                pin=Pin(SNAPSHOT, NOW, "ana", "recosync rollback held --unpin"),
            ),
            table("drifted", drift=Drift(NOW, "venue_id is STRING"), runs=()),
            table("failed", trouble=("snapshot 20261123T050000Z failed: " + "a part is gone " * 20,)),
            table("new", published=None, fresh=False, runs=()),
        ),
        views=(
            ViewStatus("held_mv", (ViewSource("held", SNAPSHOT, NOW, 3.2, False),), (), ()),
            ViewStatus("failed_mv", (ViewSource("failed", SNAPSHOT, NOW, 3.2, False),), ("new",), ("failed", "new")),
        ),
        failures=failures(failure(), failure("short"), failure("past", over=True), total=99),
        logs=(hours,),
    )


@SCHEMES
def test_every_text_has_the_contrast_of_wcag_aa(show, scheme):
    contrasts = show(everything(), scheme=scheme).evaluate(CONTRASTS)
    assert len(contrasts) > 40
    assert {where: round(ratio, 2) for where, ratio in contrasts.items() if ratio < 4.5} == {}


@SCHEMES
def test_the_two_schemes_differ(show, scheme):
    ground = show(report(), scheme=scheme).evaluate("getComputedStyle(document.body).backgroundColor")
    assert (sum(map(int, ground[4:-1].split(","))) > 384) == (scheme == "light")


@pytest.mark.parametrize("width", [320, 360, 768, 1180])
def test_nothing_is_wider_than_the_screen(show, width):
    tab = show(everything(), width=width)
    assert tab.evaluate("document.documentElement.scrollWidth") <= width


#: What is wider than what it stands in, or is cut off by it.
CUT_OFF = """() => [...document.body.querySelectorAll('*')]
  .filter(e => !e.closest('i, svg, .map thead') && getComputedStyle(e).display !== 'inline')
  .filter(e => e.clientWidth && e.scrollWidth > e.clientWidth + 1)
  .map(e => e.tagName + '.' + e.className + ': ' + e.textContent.trim().slice(0, 40))"""


@pytest.mark.parametrize("state", states.STATES)
def test_each_state_fits_every_screen(show, state):
    tab = show(states.of(state))
    for width in (360, 768, 1280):
        tab.set_viewport_size({"width": width, "height": 900})
        assert tab.evaluate("document.documentElement.scrollWidth") <= width
        assert tab.evaluate(CUT_OFF) == [], width


@pytest.mark.parametrize("width", [360, 1280])
def test_a_long_failure_of_an_hour_is_read_to_its_end_with_the_hour_beside_it(show, width):
    tab = show(states.of("hour-failed"), width=width)
    told = tab.locator(".failed p").first
    assert told.inner_text().endswith("then ask for the hour again")
    box = told.bounding_box()
    assert box["x"] >= 0
    assert box["x"] + box["width"] <= width
    hour = tab.locator(".day tbody tr", has_text="failed").locator("th")
    assert hour.inner_text() == "04 h"
    # One line of 13 px.
    assert hour.bounding_box()["height"] < 2 * 19


@SCHEMES
@pytest.mark.parametrize("state", ["drifted", "failed", "hours-failed", "mended"])
def test_what_tells_of_trouble_has_the_contrast_of_wcag_aa(show, state, scheme):
    tab = show(states.of(state), scheme=scheme)
    tab.evaluate("document.querySelectorAll('details').forEach(e => e.open = true)")
    assert {where: round(ratio, 2) for where, ratio in tab.evaluate(CONTRASTS).items() if ratio < 4.5} == {}


def test_what_is_over_is_opened_by_keyboard(show):
    tab = show(states.of("mended"))
    assert not tab.locator("details li").first.is_visible()
    tab.locator("summary").focus()
    tab.keyboard.press("Enter")
    assert tab.locator("details li").first.is_visible()


def test_on_a_phone_names_without_a_place_to_break_still_fit(show):
    name = "x" * 63
    long = report(
        tables=(table(name, held=(held(name),)),),
        failures=failures(failure("y" * 400, table=name)),
        logs=(log(name),),
    )
    assert show(long, width=360).evaluate("document.documentElement.scrollWidth") <= 360


def test_the_keyboard_reaches_whatever_can_be_used_and_its_focus_is_seen(show):
    tab = show(everything())
    wanted = tab.locator("a[href], [tabindex='0'], summary").count()
    seen = []
    for _ in range(wanted):
        tab.keyboard.press("Tab")
        seen.append(
            tab.evaluate(
                "(() => { const e = document.activeElement; e.dataset.seen = 1;"
                " return getComputedStyle(e).outlineStyle })()"
            )
        )
    assert tab.locator("[data-seen]").count() == wanted
    assert set(seen) == {"solid"}


def test_what_can_be_pressed_is_large_enough_for_a_finger(show):
    tab = show(everything(), width=360)
    pressed = tab.locator("nav a, .map a, summary")
    heights = pressed.evaluate_all("all => all.map(e => e.getBoundingClientRect().height)")
    assert min(heights) >= 24


def test_tables_have_captions_and_their_headers_scopes(show):
    tab = show(everything())
    assert tab.evaluate("[...document.querySelectorAll('table')].every(t => t.caption && t.caption.textContent.trim())")
    assert tab.evaluate("[...document.querySelectorAll('th')].every(th => th.scope)")
    assert tab.locator("h1").count() == 1
    assert tab.evaluate("document.documentElement.lang") == "en"
    levels = tab.evaluate("[...document.querySelectorAll('h1,h2,h3,h4')].map(h => +h.tagName[1])")
    assert all(after - before <= 1 for before, after in pairwise(levels))
    assert (
        tab.evaluate("new Set([...document.querySelectorAll('[id]')].map(e => e.id)).size")
        == tab.locator("[id]").count()
    )


def test_a_reader_hears_the_state_of_every_hour(show):
    tree = show(everything()).locator(".map").aria_snapshot()
    for state in HourState:
        assert f'cell "{state}' in tree, state


def test_states_are_told_apart_without_colour(show):
    tab = show(everything())
    marks = tab.locator(".legend .key").evaluate_all(
        "all => all.map(e => getComputedStyle(e, '::before').content.split(' /')[0])"
    )
    assert len(marks) == len(set(marks)) == len(HourState) - 2


def test_a_click_on_a_day_or_on_one_of_its_hours_shows_its_details(show):
    tab = show(report())
    assert tab.locator(".day caption").inner_text().startswith("Monday 23 November 2026")
    tab.get_by_role("link", name="21 Nov").click()
    assert tab.locator(".day caption").inner_text().startswith("Saturday 21 November 2026")
    assert tab.locator("[aria-current]").inner_text() == "Sat 21 Nov"
    row = tab.locator(".map tbody tr").nth(5).bounding_box()
    tab.mouse.click(row["x"] + row["width"] * 0.6, row["y"] + row["height"] / 2)
    assert tab.locator(".day caption").inner_text().startswith("Wednesday 18 November 2026")


def test_a_day_can_be_chosen_by_keyboard(show):
    tab = show(report())
    tab.get_by_role("link", name="21 Nov").focus()
    tab.keyboard.press("Enter")
    tab.wait_for_url("**/?day=20261121**")
    assert tab.locator(".day caption").inner_text().startswith("Saturday 21 November 2026")


def test_what_came_from_data_stays_text(show):
    tab = show(
        report(
            environment=HOSTILE,
            summary=HOSTILE,
            tables=(table(HOSTILE, held=(held(HOSTILE, HOSTILE),), drift=Drift(NOW, HOSTILE)),),
            failures=failures(failure(HOSTILE, table=HOSTILE)),
            logs=(log(HOSTILE),),
        )
    )
    assert tab.locator("script, img, [onerror]").count() == 0
    assert tab.locator(".sum").inner_text() == f"{HOSTILE}."
    assert tab.locator(".errors p").inner_text() == HOSTILE


def test_a_page_that_lacks_a_part_says_so_first_and_shows_the_rest(show):
    problem = Problem("ledger", "there is no ledger yet. Run: recosync migrate")
    tab = show(report(problems=(problem,), tables=None, views=None, failures=None, attention=True))
    assert "Run: recosync migrate" in tab.get_by_role("alert").inner_text()
    assert tab.get_by_text("Not known: the ledger").count() == 3
    assert tab.locator(".map td").count() == 30 * 25

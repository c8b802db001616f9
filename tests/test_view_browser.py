"""`micscreen view` in a real browser: Debian's Chromium, headless."""

from __future__ import annotations

import re
import shutil
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from micscreen.run.overrides import read_overrides
from micscreen.run.store import Store
from view_job import Served, kept_of, screened, serving

playwright = pytest.importorskip("playwright.sync_api")

CHROMIUM = shutil.which("chromium")
AXE = Path(__file__).parent / "vendor" / "axe.min.js"
SMALL, LARGE = (900, 700), (1680, 1000)
PATIENCE = 60_000  # ms, for a machine that does other things as well

pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="Debian's chromium is not installed")


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    with playwright.sync_playwright() as started:
        browser = started.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        yield browser
        browser.close()


@pytest.fixture(scope="module")
def made(small_set: Any, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return screened(small_set, tmp_path_factory.mktemp("browser") / "job")


@pytest.fixture
def served(made: Path, tmp_path: Path) -> Iterator[Served]:
    """A job of one's own, and its server."""
    job = tmp_path / "job"
    shutil.copytree(made, job)
    with serving(job) as found:
        yield found


Opener = Callable[..., Any]


@pytest.fixture
def window(browser: Any, served: Served) -> Iterator[Opener]:
    """Open windows; afterwards nothing was complained of and nothing left the machine."""
    contexts, said, asked = [], [], []

    def opened(size: tuple[int, int] = LARGE, path: str = "") -> Any:
        width, height = size
        context = browser.new_context(viewport={"width": width, "height": height})
        contexts.append(context)
        context.on("request", lambda request: asked.append(request.url))
        page = context.new_page()
        page.set_default_timeout(PATIENCE)
        page.on("console", lambda message: said.append((message.type, message.text)))
        page.on("pageerror", lambda error: said.append(("error", str(error))))
        page.goto(served.address + path)
        page.wait_for_selector("#counts tbody tr", state="attached")
        return page

    yield opened
    for context in contexts:
        context.close()
    assert [entry for entry in said if entry[0] in ("error", "warning")] == []
    home = (f"http://127.0.0.1:{served.port}/", f"blob:http://127.0.0.1:{served.port}/")
    assert [url for url in asked if not url.startswith(home)] == []
    assert asked


def kept_shown(page: Any) -> int:
    """Return how many picks the page says are kept."""
    text = page.inner_text("#kept-line").partition("kept")[0]
    return int(re.sub(r"\D", "", text))


def drag_threshold(page: Any, threshold: float) -> float:
    """Drag the histogram's line with the mouse; return where it came to lie."""
    box = page.locator("#histogram .u-over").bounding_box()
    y, at = box["y"] + box["height"] / 2, float(page.input_value("#threshold")) / 1000
    page.mouse.move(box["x"] + box["width"] * at, y)
    page.mouse.down()
    for share in np.linspace(at, threshold, 5):
        page.mouse.move(box["x"] + box["width"] * share, y)
    page.mouse.up()
    return float(page.input_value("#threshold")) / 1000


def set_threshold(page: Any, threshold: float) -> None:
    page.fill("#threshold-number", f"{threshold:.3f}")
    page.press("#threshold-number", "Enter")


def go(page: Any, where: str) -> None:
    """Go to a page, and wait until it is there: the address changes before the page does."""
    page.click(f"nav a[href='#{where}']")
    page.wait_for_selector(f"#page-{where}", state="visible")


def open_micrograph(page: Any, name: str) -> None:
    """Find a micrograph in the gallery and open it."""
    go(page, "gallery")
    page.fill("input[name=text]", name)
    page.wait_for_function("() => document.querySelector('#found').textContent.startsWith('1 ')")
    page.click(f".tile:has-text('{name}')")
    page.wait_for_function(f"() => document.querySelector('#title-m').textContent === '{name}'")


def count_of(page: Any) -> int:
    """Return how many picks of the open micrograph are kept."""
    return int(page.inner_text("#m-facts").split()[0])


def test_dragging_the_line_shows_the_counts_of_the_database(window: Opener, served: Served) -> None:
    """Wherever the line is dragged, the page shows the counts of SQL and NumPy, per class too."""
    page = window()
    for wanted in (0.3, 0.62, 0.97):
        threshold = drag_threshold(page, wanted)
        assert threshold == pytest.approx(wanted, abs=0.01)
        assert kept_shown(page) == kept_of(served.job, threshold)
    with Store(served.job) as store:
        scored = [s for _, s in store.scored() if s is not None]
    film = sum(
        int(((s.class_index == 1) & (s.reason < 2) & (s.goodness >= np.float32(threshold))).sum())
        for s in scored
    )
    assert page.inner_text("tr[data-group=support_film] td >> nth=0") == str(film)


def test_filter_open_zoom_and_hover(window: Opener, served: Served) -> None:
    """The gallery filters, a click opens a micrograph, the wheel zooms, a pick tells its scores."""
    page = window()
    go(page, "gallery")
    page.wait_for_function("() => document.querySelectorAll('.tile').length === 5")
    page.select_option("select[name=show]", "failed")
    page.wait_for_function("() => document.querySelectorAll('.tile').length === 1")
    assert "mic_004" in page.inner_text(".tile")
    page.select_option("select[name=show]", "all")
    page.select_option("select[name=sort]", "contamination")
    page.check("input[name=descending]")
    page.wait_for_function("() => document.querySelectorAll('.tile').length === 5")
    expected = served.enter().json("list?sort=contamination&descending=1")["rows"][0]["name"]
    page.wait_for_function(
        f"() => document.querySelector('.tile span').textContent === '{expected}'"
    )
    open_micrograph(page, "mic_000")
    page.wait_for_selector("#canvas[data-zoom]")
    before = float(page.get_attribute("#canvas", "data-zoom"))
    box = page.locator("#canvas").bounding_box()
    middle = box["x"] + box["width"] / 2, box["y"] + box["height"] / 2
    with Store(served.job) as store:
        scores = next(s for r, s in store.scored() if r.name == "mic_000" and s is not None)
    nearest = int(np.argmin(np.hypot(scores.x - 384, scores.y - 384)))
    x = middle[0] + (scores.x[nearest] + 0.5 - 384) * before
    y = middle[1] + (scores.y[nearest] + 0.5 - 384) * before
    page.mouse.move(float(x), float(y))
    told = page.inner_text("#hover")
    assert f"pick {nearest + 1}:" in told and f"goodness {scores.goodness[nearest]:.3f}" in told
    page.mouse.wheel(0, -300)
    page.wait_for_function(f"() => document.querySelector('#canvas').dataset.zoom > {before * 1.5}")
    page.keyboard.press("0")
    page.wait_for_function(
        f"() => document.querySelector('#canvas').dataset.zoom < {before * 1.01}"
    )


def test_pictures_follow_the_sliders(window: Opener) -> None:
    """Mask, classes, picks, contrast and low-pass each change the pixels that are shown."""
    page = window()
    open_micrograph(page, "mic_000")
    page.wait_for_selector("#canvas[data-zoom]")
    seen = set()

    def look() -> None:
        shown = "document.querySelector('#canvas').toDataURL()"
        page.wait_for_function(f"() => {shown} !== window.seenBefore")
        seen.add(page.evaluate(f"() => window.seenBefore = {shown}"))

    look()
    for name in ("#show-picks", "#class-boxes input[value='1']", "#show-mask"):
        page.uncheck(name)
        look()
    for name, value in (("#contrast", "40"), ("#brightness", "30"), ("#lowpass", "8")):
        page.fill(name, value)
        look()
    assert len(seen) == 7


def test_paint_exclude_export_and_find_the_star_right(window: Opener, served: Served) -> None:
    """Painted and excluded picks are gone from the written STAR files, all others are there."""
    from micscreen.io import read_picks

    page = window()
    set_threshold(page, 0.83)
    open_micrograph(page, "mic_002")
    page.wait_for_selector("#canvas[data-zoom]")
    before = count_of(page)
    page.select_option("#paint-class", "4")
    page.fill("#radius", "80")
    page.click("[data-tool=brush]")
    box = page.locator("#canvas").bounding_box()
    x, y = box["x"] + box["width"] / 2, box["y"] + box["height"] / 2
    page.mouse.move(x - 100, y)
    page.mouse.down()
    page.mouse.move(x + 100, y, steps=4)
    page.mouse.up()
    page.wait_for_function(
        f"() => parseInt(document.querySelector('#m-facts').textContent) < {before}"
    )
    left = count_of(page)
    open_micrograph(page, "mic_001")
    page.click("#exclude")
    page.wait_for_selector("#exclude[aria-pressed=true]")
    page.wait_for_function(
        "() => document.querySelector('#m-facts').textContent.startsWith('0 of')"
    )
    page.wait_for_function(
        "() => document.querySelector('#facts').textContent.includes('2 decided by hand')"
    )
    shown = kept_shown(page)
    page.click("#export")
    page.wait_for_selector("#command")
    assert page.inner_text("#command").endswith("--threshold 0.83 --manual")
    written = served.job / "picks_manual_083"
    numbers = {p.name[:7]: len(read_picks(p)) for p in sorted(written.glob("*.star"))}
    assert numbers["mic_001"] == 0 and numbers["mic_002"] == left
    assert sum(numbers.values()) == shown
    with Store(served.job) as store:
        for row, scores in store.scored():
            if row.name in ("mic_000", "mic_003") and scores is not None:
                assert numbers[row.name] == int((scores.goodness >= np.float32(0.83)).sum())


def test_polygon_undo_and_labels(window: Opener, served: Served) -> None:
    """A polygon condemns what it encloses, becomes a label, and undo takes it back."""
    page = window()
    open_micrograph(page, "mic_002")
    page.wait_for_selector("#canvas[data-zoom]")
    before = count_of(page)
    page.focus("#canvas")
    page.keyboard.press("g")
    box = page.locator("#canvas").bounding_box()
    x, y = box["x"] + box["width"] / 2, box["y"] + box["height"] / 2
    for dx, dy in ((-200, -200), (200, -200), (200, 200), (-200, 200)):
        page.mouse.click(x + dx, y + dy)
    page.keyboard.press("Enter")
    page.wait_for_function(
        f"() => parseInt(document.querySelector('#m-facts').textContent) < {before}"
    )
    go(page, "overview")
    page.click("#labels")
    page.wait_for_selector("#command")
    assert (served.job / "view_labels" / "mic_002.png").is_file()
    page.click("#close")
    go(page, "m")
    page.keyboard.press("u")
    page.wait_for_function(
        f"() => parseInt(document.querySelector('#m-facts').textContent) === {before}"
    )


def test_a_decision_that_is_still_on_its_way_stays_with_its_micrograph(
    window: Opener, served: Served
) -> None:
    """Excluded and left at once: the next micrograph is shown and decided about, not the last."""
    page = window()
    go(page, "gallery")
    page.click(".tile:has-text('mic_000')")
    page.wait_for_function("() => document.querySelector('#title-m').textContent === 'mic_000'")
    held: list[Any] = []
    page.route("**/api/override/*", lambda route: held.append(route))
    before = page.inner_text("#m-facts")
    page.keyboard.press("x")
    page.keyboard.press("n")
    page.wait_for_function("() => document.querySelector('#title-m').textContent === 'mic_001'")
    page.wait_for_function(f"() => document.querySelector('#m-facts').textContent !== {before!r}")
    beside = page.inner_text("#m-facts")
    held[0].continue_()
    page.wait_for_function(
        "() => document.querySelector('#facts').textContent.includes('1 decided by hand')"
    )
    assert page.inner_text("#title-m") == "mic_001"
    assert page.inner_text("#m-facts") == beside
    assert page.get_attribute("#exclude", "aria-pressed") == "false"
    assert list(read_overrides(served.job)) == ["mic_000"]


def test_a_job_that_grows_is_followed(window: Opener, served: Served) -> None:
    """Micrographs that a run adds appear in counts and gallery without a reload."""
    page = window()
    before = kept_shown(page)
    go(page, "gallery")
    page.wait_for_function("() => document.querySelectorAll('.tile').length === 5")
    with Store(served.job, create=True) as store:
        row, scores = next((r, s) for r, s in store.scored() if s is not None)
        assert scores is not None
        store.add(replace(row, name="mic_new", position=7), scores)
    page.wait_for_function("() => document.querySelectorAll('.tile').length === 6")
    assert "mic_new" in page.inner_text("#tiles")
    threshold = float(page.input_value("#threshold-number"))
    assert kept_shown(page) == kept_of(served.job, threshold) > before


def test_two_windows_see_each_other(window: Opener) -> None:
    """What is decided in one window shows in the other; each has its own threshold."""
    here, there = window(), window(SMALL)
    set_threshold(there, 0.5)
    before = kept_shown(there)
    assert float(here.input_value("#threshold-number")) == 0.8
    open_micrograph(here, "mic_003")
    here.click("#exclude")
    there.wait_for_function(
        "() => document.querySelector('#facts').textContent.includes('1 decided by hand')"
    )
    assert kept_shown(there) < before
    open_micrograph(there, "mic_003")
    there.wait_for_selector("#exclude[aria-pressed=true]")


def test_with_the_keyboard_alone(window: Opener, served: Served) -> None:
    """Threshold, gallery, next, previous, mask, picks, flag, exclude and export need no mouse."""
    page = window()

    def tab_to(test: str) -> None:
        for _ in range(60):
            page.keyboard.press("Tab")
            if page.evaluate(f"() => document.activeElement.matches({test!r})"):
                return
        pytest.fail(f"the keyboard does not reach {test}")

    tab_to("#threshold")
    for _ in range(7):
        page.keyboard.press("ArrowRight")
    assert page.input_value("#threshold") == "807"
    assert kept_shown(page) == kept_of(served.job, 0.807)
    page.evaluate("() => document.activeElement.blur()")
    tab_to("nav a[href='#gallery']")
    page.keyboard.press("Enter")
    page.wait_for_function("() => document.querySelectorAll('.tile').length === 5")
    tab_to(".tile")
    page.keyboard.press("ArrowRight")
    page.wait_for_function("() => document.activeElement.dataset.at === '1'")
    page.keyboard.press("Enter")

    def titled(name: str) -> None:
        page.wait_for_function(f"() => document.querySelector('#title-m').textContent === '{name}'")

    titled("mic_001")
    page.keyboard.press("n")
    titled("mic_002")
    page.keyboard.press("p")
    titled("mic_001")
    page.keyboard.press("m")
    page.keyboard.press("k")
    assert not page.is_checked("#show-mask") and not page.is_checked("#show-picks")
    page.keyboard.press("f")
    page.wait_for_selector("#flag[aria-pressed=true]")
    page.keyboard.press("x")
    page.wait_for_selector("#exclude[aria-pressed=true]")
    before = float(page.get_attribute("#canvas", "data-zoom"))
    page.keyboard.press("+")
    page.wait_for_function(f"() => document.querySelector('#canvas').dataset.zoom > {before}")
    tab_to("#export")
    page.keyboard.press("Enter")
    page.wait_for_selector("#command")
    assert (served.job / "picks_manual_0807").is_dir()
    page.keyboard.press("Escape")
    page.wait_for_selector("#dialog", state="hidden")


@pytest.mark.parametrize("size", [SMALL, LARGE], ids=["small", "large"])
def test_no_page_has_a_barrier(window: Opener, size: tuple[int, int]) -> None:
    """axe finds nothing against labels, contrast, roles or focus on any page, dialog included."""
    page = window(size)
    page.evaluate(AXE.read_text())

    def check() -> None:
        page.wait_for_timeout(300)
        found = page.evaluate("() => axe.run()")
        barriers = [f"{v['id']}: {n['html']}" for v in found["violations"] for n in v["nodes"]]
        assert barriers == []

    check()
    go(page, "gallery")
    page.wait_for_function("() => document.querySelectorAll('.tile').length === 5")
    check()
    open_micrograph(page, "mic_000")
    check()
    page.click("#export")
    page.wait_for_selector("#command")
    check()


def test_a_wrong_token_gets_no_page(browser: Any, served: Served) -> None:
    """Without the token the browser is refused, and a reload with the cookie needs it no more."""
    context = browser.new_context()
    page = context.new_page()
    home = f"http://127.0.0.1:{served.port}/"
    assert page.goto(home).status == 403
    assert page.goto(home + "?token=wrong").status == 403
    assert page.goto(served.address).status == 200
    page.wait_for_selector("#counts tbody tr", state="attached")
    assert "token" not in page.url
    assert page.reload().status == 200
    context.close()

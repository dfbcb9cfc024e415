"""The console in a real browser, against a cloud that really listens. Screenshots go to build/console/."""

import re
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from playwright.async_api import Page, expect

from tests.helpers.admin_cloud import bundle
from tests.helpers.browser import TestBrowser, open_browser
from tests.helpers.console_cloud import ConsoleCloud, open_console

pytestmark = pytest.mark.slow
# What can be used but says nothing to whoever does not see it.
NAMELESS = """[...document.querySelectorAll('button, a, input, textarea, select')].filter((one) => {
    const labels = [...(one.labels ?? [])].map((label) => label.textContent).join('');
    return !(one.getAttribute('aria-label') || one.textContent || labels).trim();
}).map((one) => one.outerHTML)"""
# Text that ends outside of the card it is in, where nothing scrolls to it and no "…" says that there is more.
CUT_OFF = """[...document.querySelectorAll('.card *')].filter((one) => {
    if (one.children.length || !one.textContent || one.closest('.table-holder, .rail, .chart')) return false;
    const card = one.closest('.card').getBoundingClientRect();
    const range = document.createRange();
    range.selectNodeContents(one);
    return range.getBoundingClientRect().right > card.right + 1
        && getComputedStyle(one).textOverflow !== 'ellipsis';
}).map((one) => `${one.className}: ${one.textContent.slice(0, 40)}`)"""
PICTURES = Path(__file__).parents[2] / "build/console"


@pytest.fixture
async def console(tmp_path: Path) -> AsyncIterator[ConsoleCloud]:
    async with open_console(tmp_path) as opened:
        yield opened


@pytest.fixture
async def browser(tmp_path: Path, console: ConsoleCloud) -> AsyncIterator[TestBrowser]:
    # After the cloud, so that pages and their streams are gone before it stops.
    async with open_browser(tmp_path) as opened:
        yield opened
        opened.check_quiet(console.url)


async def sign_in(page: Page, console: ConsoleCloud) -> None:
    await page.goto(console.login)
    await expect(page.get_by_role("heading", name="Fleet")).to_be_visible()


async def state_of(console: ConsoleCloud, release: str) -> str:
    return str((await console.api.get(f"/releases/{release}")).json()["state"])


async def test_the_fleet_is_shown_as_the_api_says(
    console: ConsoleCloud, browser: TestBrowser, tmp_path: Path
) -> None:
    release = await console.past()
    page = await browser.page()
    await sign_in(page, console)
    # The token has left the address, and is in no request's address either.
    assert page.url == console.page()
    assert not [url for url in browser.urls if console.api.owner in url.partition("#")[0]]

    overview = (await console.api.get("/overview")).json()
    devices = overview["devices"]
    figure = page.get_by_text(f"{devices['online']} of {devices['total']} online")
    await expect(figure).to_be_visible()
    for row in overview["versions"]:
        text = f"version {row['version']} {row['devices']}"
        await expect(page.get_by_role("listitem").filter(has_text=text)).to_be_visible()
    line = page.get_by_role("link", name=re.compile("hello version 2 .*stage 2 of 3"))
    await expect(line).to_be_visible()
    light = await browser.picture(page, PICTURES / "overview-light.png")
    assert light.colours > 100
    assert light.commonest < 0.9

    await line.click()
    await expect(page.get_by_role("heading", name="hello version 2")).to_be_visible()
    assert page.url == console.page(f"/releases/{release['id']}")
    coverage = (await console.api.get(f"/releases/{release['id']}")).json()["coverage"]
    chart = page.get_by_role("img", name=re.compile("Coverage over time"))
    said = f"now {coverage['installed']} of {coverage['targeted']} installed"
    await expect(chart).to_have_attribute("aria-label", re.compile(said))
    await expect(page.get_by_text("Promoted by itself")).to_be_visible()
    picture = await browser.picture(page, PICTURES / "release-light.png")
    assert picture.colours > 100
    assert picture.commonest < 0.9

    async with open_browser(tmp_path, "dark") as dark:
        page = await dark.page()
        await sign_in(page, console)
        night = await dark.picture(page, PICTURES / "overview-dark.png")
        await page.goto(console.page(f"/releases/{release['id']}"))
        await expect(page.get_by_role("img", name=re.compile(said))).to_be_visible()
        await dark.picture(page, PICTURES / "release-dark.png")
        dark.check_quiet(console.url)
    assert night.colours > 100


async def test_a_release_is_paused_and_resumed(console: ConsoleCloud, browser: TestBrowser) -> None:
    release = (await console.past())["id"]
    page = await browser.page()
    await sign_in(page, console)
    await page.get_by_role("link", name=re.compile("hello version 2")).first.click()
    dialog = page.get_by_role("dialog")

    await page.get_by_role("button", name="Pause").click()
    await expect(dialog.get_by_text(re.compile("Affects .* devices that do not"))).to_be_visible()
    await dialog.get_by_label("Reason").fill("looks odd")
    await dialog.get_by_role("button", name="Pause").click()
    await expect(dialog).to_be_hidden()
    await expect(page.get_by_role("heading", name=re.compile("Paused"))).to_be_visible()
    assert await state_of(console, release) == "paused"
    events = (await console.api.get(f"/releases/{release}/events")).json()["items"]
    assert events[-1]["event"]["reason"] == "looks odd"
    await expect(page.get_by_text("looks odd")).to_be_visible()

    # By keyboard alone: the reason has the focus, Enter sends.
    await page.get_by_role("button", name="Resume").focus()
    await page.keyboard.press("Enter")
    await expect(dialog.get_by_label("Reason")).to_be_focused()
    await page.keyboard.type("it was nothing")
    await page.keyboard.press("Enter")
    await expect(page.get_by_role("heading", name=re.compile("Running"))).to_be_visible()
    assert await state_of(console, release) == "running"

    # Escape changes nothing.
    await page.get_by_role("button", name="Abort").click()
    await page.keyboard.press("Escape")
    await expect(dialog).to_be_hidden()
    assert await state_of(console, release) == "running"


async def test_a_rollback_says_whom_it_moves_and_where(
    console: ConsoleCloud, browser: TestBrowser
) -> None:
    release = (await console.past())["id"]
    page = await browser.page()
    await sign_in(page, console)
    await page.goto(console.page(f"/releases/{release}"))
    installed = (await console.api.get(f"/releases/{release}")).json()["coverage"]["installed"]
    await page.get_by_role("button", name="Roll back").click()
    dialog = page.get_by_role("dialog")
    await expect(dialog).to_contain_text(f"Affects {installed} devices that hold version 2")
    await dialog.get_by_label("Return to").select_option(label="None: remove the task")
    await expect(dialog).to_contain_text("the task is removed from them")
    await dialog.get_by_label("Return to").select_option(label="Version 1")
    await dialog.get_by_role("button", name="Roll back").click()
    await expect(page.get_by_role("heading", name=re.compile("Rolled back"))).to_be_visible()
    assert await state_of(console, release) == "rolled_back"
    # What it takes no more is not offered.
    await expect(page.get_by_role("group", name="Commands").get_by_role("button")).to_have_count(0)


async def test_what_happens_is_seen_without_a_reload(
    console: ConsoleCloud, browser: TestBrowser
) -> None:
    release = await console.past()
    page = await browser.page()
    await sign_in(page, console)
    await page.goto(console.page(f"/releases/{release['id']}"))
    before = (await console.api.get(f"/releases/{release['id']}")).json()["coverage"]
    rail = page.get_by_role("list", name="Stages")
    say = "{installed} of {targeted} installed".format
    await expect(rail).to_contain_text(say(**before))
    await console.acknowledge(release, console.within(release, 400_000), "installed")
    await expect(rail).to_contain_text(
        say(installed=before["targeted"], targeted=before["targeted"])
    )
    await console.command(release["id"], "pause", "from elsewhere")
    await expect(page.get_by_role("heading", name=re.compile("Paused"))).to_be_visible()
    await expect(page.get_by_text("from elsewhere")).to_be_visible()


async def test_devices_are_found_and_explained(console: ConsoleCloud, browser: TestBrowser) -> None:
    await console.past()
    page = await browser.page()
    await sign_in(page, console)
    await page.get_by_role("link", name="Devices", exact=True).click()
    rows = page.get_by_role("table").get_by_role("row")
    await expect(rows).to_have_count(51)  # a page of 50 and the head
    await page.get_by_role("button", name="Next").click()
    await expect(rows).to_have_count(11)
    await page.get_by_role("button", name="offline").click()
    await expect(rows).to_have_count(4)
    await page.get_by_role("button", name="all", exact=True).click()
    device = console.devices[3]
    await page.get_by_label("Device id begins with").fill(device[:10])
    await expect(rows).to_have_count(2)
    await page.get_by_role("link", name=device[:12]).click()
    await expect(page.get_by_text(device, exact=True)).to_be_visible()
    await expect(page.get_by_text("At its next sync it would be told")).to_be_visible()
    await expect(page.get_by_text("cpython-313-3571")).to_be_visible()


async def test_the_kill_switch_is_set_and_cleared(
    console: ConsoleCloud, browser: TestBrowser
) -> None:
    await console.past()
    page = await browser.page()
    await sign_in(page, console)
    await page.get_by_role("link", name="Kill switch").click()
    row = page.get_by_role("listitem").filter(has_text="hello")
    await row.get_by_role("button", name="Stop").click()
    dialog = page.get_by_role("dialog")
    await dialog.get_by_label("Reason").fill("too warm")
    await dialog.get_by_role("button", name="Stop").click()
    await expect(page.get_by_text("Stopped: hello.")).to_be_visible()
    assert (await console.api.get("/overview")).json()["kill"] == {"all": False, "tasks": ["hello"]}
    await expect(row).to_contain_text("too warm")
    await row.get_by_role("button", name="Let it run").click()
    await dialog.get_by_role("button", name="Let it run").click()
    await expect(page.get_by_text("Stopped: hello.")).to_be_hidden()
    assert (await console.api.get("/overview")).json()["kill"] == {"all": False, "tasks": []}


async def test_an_empty_cloud_says_how_to_begin(
    console: ConsoleCloud, browser: TestBrowser
) -> None:
    page = await browser.page()
    await sign_in(page, console)
    await expect(page.get_by_text("No release is on its way")).to_be_visible()
    for path, says in (
        ("/tasks", "No task yet"),
        ("/devices", "No device has enrolled yet"),
        ("/releases", "Nothing was released yet"),
        ("/nowhere", "This address leads nowhere"),
    ):
        await page.goto(console.page(path))
        await expect(page.get_by_text(says)).to_be_visible()


@pytest.mark.parametrize("width", [360, 768, 1920])
async def test_no_page_is_wider_than_its_window_and_everything_has_a_name(
    console: ConsoleCloud, browser: TestBrowser, width: int
) -> None:
    release = (await console.past())["id"]
    await console.api.publish(
        bundle(name="a-task-with-a-name-as-long-as-names-of-tasks-are-allowed-to-be")
    )
    reason = {"task": "hello", "killed": True, "reason": "because " * 120}
    await console.api.post("/kill-switches", reason)
    await console.odd_device(console.devices[0])
    page = await browser.page()
    await page.set_viewport_size({"width": width, "height": 800})
    await sign_in(page, console)
    device = console.devices[0]
    below = (
        "releases",
        f"releases/{release}",
        "tasks",
        "tasks/hello",
        "devices",
        f"devices/{device}",
        "stop",
    )
    for path in ("", *(f"/{one}" for one in below)):
        await page.goto(console.page(path))
        await expect(page.get_by_text("Live")).to_be_visible()
        await expect(page.get_by_role("status", name="Loading")).to_have_count(0)
        assert await page.evaluate("document.documentElement.scrollWidth - innerWidth") <= 0, path
        assert await page.evaluate(NAMELESS) == [], path
        assert await page.evaluate(CUT_OFF) == [], path


async def test_a_refused_token_is_told_and_another_is_taken(
    console: ConsoleCloud, tmp_path: Path
) -> None:
    async with open_browser(tmp_path) as browser:
        page = await browser.page()
        await page.goto(f"{console.url}/console/#token=wrong")
        await expect(page.get_by_role("alert")).to_contain_text("refused the token")
        # A reader sees everything and is offered nothing that it may not do.
        reader = await console.api.token(["task:read", "release:read", "device:read"])
        release = (await console.past())["id"]
        await page.get_by_label("Access token").fill(reader)
        await page.get_by_role("button", name="Sign in").click()
        await expect(page.get_by_role("heading", name="Fleet")).to_be_visible()
        await page.goto(console.page(f"/releases/{release}"))
        await expect(page.get_by_role("list", name="Stages")).to_be_visible()
        await expect(page.get_by_role("button", name="Pause")).to_have_count(0)
        await page.get_by_role("button", name="Sign out").click()
        await expect(page.get_by_label("Access token")).to_be_visible()

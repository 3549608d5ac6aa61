"""The page in a real browser, in front of a real server with the embedded model."""

import json

import av
import pytest
import torch
from browser_tools import Page, browser
from PIL import Image
from serving_tools import running

import causvid
from causvid.data.metadata import read_metadata
from causvid.data.video import ClipWriter
from causvid.serve.limits import Limits

pytestmark = pytest.mark.browser


@pytest.fixture(scope="module")
def chromium():
    with browser() as found:
        yield found


@pytest.fixture(scope="module")
def server(chromium):
    with running(load=lambda: causvid.load("tiny"), drain_seconds=2.0) as found:
        yield found


@pytest.fixture
def page(chromium, server):
    with Page(chromium, server.port) as found:
        yield found


def sky(picture):
    """Mean red, green and blue of the upper quarter."""
    upper = picture[: len(picture) // 4]
    return [sum(upper[c::4]) / len(upper[c::4]) for c in range(3)]


def test_frames_change_and_a_prompt_changes_the_picture(page):
    page.begin()
    first = page.picture()
    page.chunks(2)
    assert page.picture() != first
    assert sky(page.picture())[2] > 150, "a blue sky"

    page.write("night falls")
    page.until("document.querySelector('#meter-edit').textContent.includes('s')")
    page.chunks(len(page.chunks(1)) + 1)

    assert sky(page.picture())[2] < 120, "a dark sky"
    assert page.ask("[...document.querySelectorAll('.run .words')].map(p => p.textContent)") == [
        "a red ball bounces on the grass under a blue sky",
        "night falls",
    ]


def test_stills_are_shown_where_there_is_no_webcodecs(chromium, server):
    with Page(chromium, server.port, script="delete globalThis.VideoDecoder;") as page:
        page.begin()
        first = page.picture()
        page.chunks(2)
        assert page.picture() != first


def test_going_back_under_the_same_prompt_shows_the_same_again(page):
    page.begin()
    before = page.chunks(3)[:3]

    page.view.click(".piece:nth-child(2) .thumb")
    page.until("document.querySelectorAll('.thumb').length < 3")
    again = page.chunks(3)[:3]

    assert again == before


def test_a_branch_goes_its_own_way_and_one_can_return(page):
    page.begin()
    page.chunks(3)
    page.view.hover(".piece:nth-child(2)")
    page.view.click(".piece:nth-child(2) .fork")
    page.until("document.querySelectorAll('#tree li').length === 2")
    assert page.ask("document.activeElement.id") == "prompt"
    page.write("it is night")
    page.until("document.querySelectorAll('.run').length === 2")
    other = page.chunks(3)

    page.view.click("#tree li:nth-child(1) button")
    page.until("document.querySelectorAll('.run').length === 1")
    first = page.chunks(3)

    assert first[0] == other[0], "they share their beginning"
    assert first[2] != other[2]
    assert page.view.get_attribute("#tree li:nth-child(1) button", "aria-current") == "true"


def test_the_downloaded_video_opens_and_says_how_it_was_made(page, tmp_path):
    page.begin(seed=11)
    page.chunks(1)
    page.write("it starts to snow")
    page.until("document.querySelectorAll('.run').length === 2")
    page.chunks(3)
    with page.view.expect_download() as download:
        page.press("d")
    path = tmp_path / download.value.suggested_filename
    download.value.save_as(path)

    with av.open(str(path)) as file:
        assert sum(1 for _ in file.decode(video=0)) >= 24
    made = read_metadata(path)
    assert made["seed"] == 11
    assert "it starts to snow" in json.dumps(made)


def test_keys_pause_step_go_back_and_help(page):
    page.begin()
    page.chunks(2)
    page.press(" ")
    page.until("document.querySelector('#pause').getAttribute('aria-label') === 'Go on'")
    held = page.time
    page.view.wait_for_timeout(300)
    assert page.time == held

    page.press(".")
    page.until(f"document.querySelector('#time').value !== '0:0{held}'")
    page.press("[")
    page.until("document.querySelectorAll('.thumb').length < 2")
    assert page.time < held
    page.press("/")
    page.view.keyboard.type(" ")
    assert page.ask("document.querySelector('#pause').getAttribute('aria-label')") == "Go on", (
        "typing is not steering"
    )
    page.press(" ")
    page.chunks(2)
    page.press("?")
    assert page.view.is_visible("#shortcuts")


def test_a_script_is_imported_played_and_exported(page, tmp_path):
    events = [{"time": 0, "prompt": "a blue box on the sand", "transition": "soft"},
              {"time": 1, "prompt": "it is night", "transition": "recache"}]  # fmt: skip
    story = tmp_path / "story.json"
    story.write_text(json.dumps({"causvid_timeline": 1, "seed": 5, "events": events}))
    page.until("document.querySelectorAll('#examples button').length > 0")
    page.view.fill("#prompt", "a heart")
    page.press("s")
    page.view.set_input_files("#script-file", story)
    page.until("document.querySelectorAll('#script-rows li').length === 2")
    page.view.click("#script-play")
    page.until("document.querySelectorAll('.run').length === 2")
    page.chunks(3)
    with page.view.expect_download() as download:
        page.view.click("#script-export")

    kept = json.loads(download.value.path().read_text())
    assert [event["prompt"] for event in kept["events"]] == ["a blue box on the sand", "it is night"]
    assert kept["seed"] == 5


def test_a_video_starts_from_a_picture(page, tmp_path):
    Image.new("RGB", (200, 120), (250, 120, 20)).save(tmp_path / "orange.png")
    page.view.click("label:has(input[value=image])")
    page.view.set_input_files("#source-file", tmp_path / "orange.png")
    page.begin()

    red, _, blue = sky(page.picture())
    assert red > blue + 60, "orange"


def test_the_camera_is_filmed_and_repainted(page):
    page.view.click("label:has(input[value=camera])")
    page.begin("a red ball on the grass")
    assert page.ask("document.querySelector('#mirror').videoWidth") > 0
    first = page.chunks(1)
    assert page.chunks(2)[0] == first[0]
    page.view.fill("#strength", "0.3")
    page.view.click("#new")
    page.until("document.querySelector('#mirror').srcObject === null")


def test_what_is_wrong_is_said_in_a_sentence(page):
    page.until("document.querySelectorAll('#examples button').length > 0")
    page.view.press("#prompt", "Enter")
    assert "Say what the video shows" in page.notice
    page.begin()
    page.write("a dragon on the grass")
    page.until("document.querySelector('#notice').textContent.includes('dragon')")


def test_a_lost_connection_comes_back_and_the_video_can_be_played_again(chromium, server):
    remember = """const send = WebSocket.prototype.send;
        WebSocket.prototype.send = function (data) { globalThis.socket = this; send.call(this, data); };"""
    with Page(chromium, server.port, script=remember) as page:
        page.begin(seed=3)
        first = page.chunks(2)[:2]
        page.ask("socket.close()")
        page.until("document.querySelector('#notice button') !== null")
        page.view.click("#notice button")
        page.until("document.body.dataset.state === 'live'")
        assert page.chunks(2)[:2] == first


def test_who_was_idle_gives_the_place_away_and_takes_it_again_with_a_key(chromium):
    with running(load=lambda: causvid.load("tiny"), limits=Limits(idle_seconds=1.0)) as server:
        with Page(chromium, server.port) as page:
            page.until("document.querySelector('#notice').textContent.includes('any key')")
            assert not server.service.sessions
            page.press("x")
            page.until("document.querySelector('#notice').textContent === ''")


def test_without_the_token_the_page_says_where_it_is(chromium):
    with running(token="abcdefgh12345678") as server:
        hush = ("401", "WebSocket connection")
        with Page(chromium, server.port, hush=hush) as page:
            page.until("document.querySelector('#notice').textContent.includes('token')")
        with Page(chromium, server.port, path="/#token=abcdefgh12345678") as page:
            page.begin("a red ball")
            assert "abcdefgh" not in page.view.url


def test_everything_that_can_be_pressed_has_a_name_and_nothing_is_cut_off_on_a_phone(chromium, server):
    size = {"width": 360, "height": 700}
    with Page(chromium, server.port, viewport=size, has_touch=True, is_mobile=True) as page:
        page.begin()
        page.chunks(2)
        assert page.ask("document.documentElement.scrollWidth") <= 360
        named = "e.getAttribute('aria-label') || e.textContent.trim() || e.labels?.length || e.hidden"
        nameless = (
            "[...document.querySelectorAll('button, input, select, textarea, summary')]"
            f".filter(e => !({named})).map(e => e.outerHTML)"
        )
        assert page.ask(nameless) == []


def test_the_two_waits_are_measured(page, capsys):
    page.begin()
    page.chunks(2)
    page.write("it starts to rain")
    page.until("document.querySelector('#meter-edit').textContent.includes('s')")
    waits = [float(page.view.inner_text(f"#meter-{name}").split()[0]) for name in ("first", "edit")]
    with capsys.disabled():
        print(f"\npage: click to first picture {waits[0]} s, prompt to first changed picture {waits[1]} s")
    assert waits[0] < 20 and waits[1] < 20, "generous: machines differ"


@pytest.mark.parametrize("use", ["extend", "edit"])
def test_a_video_is_gone_on_from_or_repainted(page, tmp_path, use):
    clip = tmp_path / "clip.mp4"
    with ClipWriter(clip, fps=12, metadata={}) as writer:
        writer.write(torch.tensor([250, 120, 20], dtype=torch.uint8).expand(48, 64, 64, 3))
    page.view.click("label:has(input[value=video])")
    page.view.set_input_files("#source-file", clip)
    page.view.click(f"label:has(input[value={use}])")
    if use == "edit":
        page.view.fill("#strength", "0.3")
    page.begin("a red ball on the sand at sunset")

    red, _, blue = sky(page.picture())
    assert red > blue + 30, "orange"

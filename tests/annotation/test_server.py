"""What the page may ask, and what nobody else may."""

import errno
import json
import re
from pathlib import Path

import pytest
from starlette.testclient import TestClient

from lightning_marlhf.annotation import server, store
from lightning_marlhf.annotation.server import TOKEN_HEADER, Server
from lightning_marlhf.evaluation.criteria import CRITERIA
from lightning_marlhf.evaluation.pairs import Pair
from lightning_marlhf.records import read_verdicts

HERE = "http://127.0.0.1:8420"
HOSTILE = "</script><script>alert(1)</script><img src=x onerror=alert(2)>"


class Page:
    """A browser with the page open."""

    def __init__(self, session, annotator=None):
        app = Server(session, CRITERIA["tldr"], annotator).app()
        self.client = TestClient(app, base_url=HERE)
        self.session = self.client.get("/session").json()
        self.headers = {"origin": HERE, "sec-fetch-site": "same-origin", TOKEN_HEADER: self.session["token"]}

    def post(self, action, **body):
        return self.client.post(f"/{action}", json={"annotator": "ada"} | body, headers=self.headers)

    def judge(self, view, winner="left", note=""):
        return self.post("verdict", pair=view["pair"]["id"], winner=winner, note=note)


@pytest.fixture
def page(make_session):
    return Page(make_session(3))


def test_the_page_goes_through_all_pairs(page, tmp_path):
    view = page.post("next").json()
    for number in range(3):
        assert (view["done"], view["total"]) == (number, 3)
        view = page.judge(view).json()
        assert len(read_verdicts(tmp_path / "v.jsonl")) == number + 1  # before the next is shown
    assert view["pair"] is None
    assert page.post("undo").json()["done"] == 2
    assert len(read_verdicts(tmp_path / "v.jsonl")) == 2


def test_skip_shows_another_pair(page):
    first = page.post("next").json()["pair"]["id"]
    view = page.post("skip", pair=first).json()
    assert view["pair"]["id"] != first
    assert view["skipped"] == 1


def test_a_verdict_names_the_criteria_that_were_shown(page, tmp_path):
    assert page.session["question"] == CRITERIA["tldr"].question
    page.judge(page.post("next").json(), note="why")
    (row,) = read_verdicts(tmp_path / "v.jsonl")
    assert (row.raw, row.judge, row.error) == ("why", "human:ada", "")


def test_the_annotator_of_the_command_line_is_the_only_one(make_session, tmp_path):
    page = Page(make_session(2), annotator="eve")
    assert page.session["annotator"] == "eve"
    page.judge(page.post("next").json())
    assert read_verdicts(tmp_path / "v.jsonl")[0].judge == "human:eve"


# Hostile texts


def test_texts_travel_as_json_and_no_page_holds_them(make_session):
    page = Page(make_session([Pair("id", HOSTILE, "x" * 1_000_000, "\ud800\u202e")]))
    reply = page.post("next")
    assert reply.headers["content-type"] == "application/json"
    assert reply.headers["x-content-type-options"] == "nosniff"
    pair = reply.json()["pair"]
    assert pair["prompt"] == HOSTILE
    assert {pair["left"], pair["right"]} == {"x" * 1_000_000, "\ud800\u202e"}
    assert "alert(" not in page.client.get("/").text


def test_the_page_s_script_sets_texts_as_text_alone():
    script = (Path(server.__file__).parent / "page.js").read_text()
    assert not re.search(r"innerHTML|outerHTML|insertAdjacent|document\.write|eval|DOMParser", script)


def test_no_script_or_style_stands_in_the_page_and_nothing_comes_from_elsewhere(page):
    reply = page.client.get("/")
    policy = reply.headers["content-security-policy"]
    assert policy.startswith("default-src 'none'; script-src 'self'; style-src 'self';")
    assert "unsafe" not in policy
    for tag in re.findall(r"<(?:script|link|style|img)\b[^>]*>", reply.text):
        assert re.search(r'(?:src|href)="(?:page\.(?:js|css)|data:,)"', tag), tag
    assert not re.search(r"\son\w+=|\sstyle=|https?:", reply.text)
    for name in ("page.js", "page.css"):
        assert not re.search(r"https?:|@import|url\(", page.client.get(f"/{name}").text)


# Other sites


@pytest.mark.parametrize(
    "headers",
    [
        {"origin": "http://evil.example"},
        {"origin": "http://127.0.0.1:9999"},
        {"origin": "null"},
        {"origin": None},
        {"sec-fetch-site": "cross-site"},
        {"sec-fetch-site": "same-site"},
        {TOKEN_HEADER: "guessed"},
        {TOKEN_HEADER: "é".encode()},
        {TOKEN_HEADER: None},
    ],
)
@pytest.mark.parametrize("action", ["next", "verdict", "skip", "undo"])
def test_a_post_from_anywhere_else_is_refused(page, tmp_path, headers, action):
    view = page.judge(page.post("next").json()).json()
    before = (tmp_path / "v.jsonl").read_bytes()
    page.headers = {k: v for k, v in (page.headers | headers).items() if v is not None}
    assert page.post(action, pair=view["pair"]["id"], winner="tie", note="").status_code == 403
    assert (tmp_path / "v.jsonl").read_bytes() == before


@pytest.mark.parametrize("site", ["cross-site", "same-site"])
def test_another_site_does_not_get_the_token(page, site):
    assert page.client.get("/session", headers={"sec-fetch-site": site}).status_code == 403
    assert "access-control-allow-origin" not in page.client.get("/session").headers


@pytest.mark.parametrize("host", ["evil.example", "evil.example:8420", "127.0.0.1.evil.example", ""])
@pytest.mark.parametrize("path", ["/", "/session", "/page.js"])
def test_a_name_that_only_points_to_this_machine_is_refused(page, host, path):
    reply = page.client.get(path, headers={"host": host})
    assert reply.status_code == 400
    assert page.session["token"] not in reply.text


@pytest.mark.parametrize("host", ["127.0.0.1:8420", "localhost:9000"])
def test_this_machine_s_names_are_accepted_on_any_port(page, host):
    assert page.client.get("/session", headers={"host": host}).status_code == 200


# Mistakes


@pytest.mark.parametrize(
    "body",
    [b"", b"{", b"[]", b"[" * 90_000, b'{"a":' * 15_000, b'{"annotator": 3}', b'{"annotator": ""}', b"\xff"]
    + [json.dumps({"annotator": "ada", "pair": "id0", "winner": w}).encode() for w in ("a", 1)],
)
def test_a_body_that_makes_no_sense_is_one_sentence(page, body):
    reply = page.client.post("/verdict", content=body, headers=page.headers)
    assert reply.status_code == 400
    assert "\n" not in reply.json()["error"]


def test_a_huge_body_is_refused(page):
    view = page.post("next").json()
    reply = page.judge(view, note="x" * 200_000)
    assert (reply.status_code, reply.json()["error"]) == (400, "the request is too large: shorten the note")


def test_a_pair_judged_in_another_window_is_told_apart(page):
    view = page.post("next").json()
    page.judge(view)
    assert page.judge(view).status_code == 409


def test_a_full_disk_is_told_and_the_pair_stays(page, monkeypatch):
    def fill(*_):
        raise OSError(errno.ENOSPC, "No space left on device")

    view = page.post("next").json()
    monkeypatch.setattr(store, "append_jsonl", fill)
    reply = page.judge(view)
    assert (reply.status_code, reply.json()["error"]) == (507, "not saved: No space left on device")
    assert page.post("next").json()["pair"] == view["pair"]

"""The shop's page ships all that it loads, and its parts fit together."""

import re
from html.parser import HTMLParser

from fastapi.testclient import TestClient

from serving.requests import MAX_LIMIT, MAX_OFFSET


class _Page(HTMLParser):
    def __init__(self, document: str) -> None:
        super().__init__()
        self.ids: set[str] = set()
        self.loaded: list[str] = []
        self.inline = 0
        self.feed(document)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        attributes = dict(attrs)
        if name := attributes.get("id"):
            self.ids.add(name)
        if tag in ("script", "link", "img"):
            address = attributes.get("src") or attributes.get("href")
            self.inline += address is None
            self.loaded += [address] if address else []
        self.inline += tag == "style" or "style" in attributes


def test_the_page_loads_only_its_own_files(client: TestClient) -> None:
    answer = client.get("/")
    assert answer.headers["content-security-policy"] == "default-src 'self'"
    page = _Page(answer.text)
    assert page.loaded
    for address in page.loaded:
        assert client.get(address).status_code == 200, address
    # The policy forbids what stands in the page itself.
    assert page.inline == 0


def test_the_script_finds_every_element_it_names(client: TestClient) -> None:
    script = client.get("/static/shop.js").text
    named = set(re.findall(r'\$\("([a-z-]+)"\)', script))
    assert named
    assert named <= _Page(client.get("/").text).ids


def test_an_event_that_is_accepted_and_not_applied_in_time_is_no_error(client: TestClient) -> None:
    """Beside other workers that is how every event of their partitions is answered."""
    script = client.get("/static/shop.js").text
    (send,) = re.findall(r"async function send\(event\) \{.*?\n\}", script, re.DOTALL)
    awaited = client.get("/openapi.json").json()["paths"]["/v1/events"]["post"]["responses"]
    assert "504" in awaited
    assert re.search(r"catch \(problem\) \{[^}]*problem\.status === 504\) return false;", send)
    assert "throw problem" in send


def test_an_effect_is_known_to_be_visible_only_where_it_was_waited_for(client: TestClient) -> None:
    script = client.get("/static/shop.js").text
    (send,) = re.findall(r"async function send\(event\) \{.*?\n\}", script, re.DOTALL)
    answers = re.findall(r'call\("(/v1/events[^"]*)", event\);\s*return (\w+);', send)
    assert answers == [("/v1/events?wait=applied", "true"), ("/v1/events", "false")]
    assert send.count("return true") == 1
    assert "if (!applied) showAccepted();" in script


def test_the_catalogue_is_asked_for_within_the_bounds_of_the_api(client: TestClient) -> None:
    script = client.get("/static/shop.js").text
    found = dict(re.findall(r"^const (PAGE|LAST_OFFSET) = ([0-9_]+);", script, re.MULTILINE))
    assert {name: int(value) for name, value in found.items()} == {
        "PAGE": MAX_LIMIT,
        "LAST_OFFSET": MAX_OFFSET,
    }
    assert "const shown = await someOfTheCatalogue();" in script


def test_a_diversity_that_nobody_chose_is_left_to_the_settings(client: TestClient) -> None:
    script = client.get("/static/shop.js").text
    (wishes,) = re.findall(r"function wishes\(\) \{.*?\n\}", script, re.DOTALL)
    assert "diversity: state.diversity," in wishes
    assert re.search(r"const state = \{[^}]*diversity: null", script)
    (moved,) = re.findall(r'\$\("diversity"\)\.onchange = .*?\n\};', script, re.DOTALL)
    assert script.count('$("diversity")') == moved.count('$("diversity")')
    asked = {"user_id": "u", "diversity": None}
    assert client.post("/v1/recommend", json=asked).is_success

"""The text tower reads what a page shows of a text, and not its markup."""

import html

import pytest
from hypothesis import given
from hypothesis import strategies as st

from feature_repo.markup import without_markup
from feature_repo.schema import Item


@pytest.mark.parametrize(
    ("text", "seen"),
    [
        ("<p>The vote</p><p>is on</p>", "The vote is on"),
        ("Wind<b>kraft</b> &amp; <a href='/x'>mehr</a>&nbsp;", "Windkraft & mehr"),
        ("<div><script>ads.push({a: '<p>'});</script><STYLE>p{}</STYLE>選挙</div>", "選挙"),
        ("a<!-- <p>no</p> -->b<br/>c<!DOCTYPE html>", "a b c"),
        ("Cut within <script>window.data = {", "Cut within"),
        ("&lt;b&gt; is bold, &#8364; and &#x20AC;", "<b> is bold, € and €"),
    ],
)
def test_of_html_what_a_page_shows_is_left(text: str, seen: str) -> None:
    assert without_markup(text) == seen


@pytest.mark.parametrize("text", ["a < b > c", "I <3 you", "R&D;", "/?a=1&copy=2", "  two\n", ""])
def test_what_is_no_html_stays_as_it_is(text: str) -> None:
    assert without_markup(text) == text


@given(st.text().map(html.escape), st.sampled_from(["p", "b", "section", "h1 class='x'"]))
def test_text_within_tags_is_the_text_without(text: str, tag: str) -> None:
    wrapped = f"<{tag}>{text}</{tag.split()[0]}>"
    assert without_markup(wrapped).split() == html.unescape(text).split()


def test_an_item_is_read_by_what_its_page_shows() -> None:
    shown = Item(item_id="i", title="Vote & count", categories=("news",), description="The vote.")
    sent = Item(
        item_id="i",
        title="<b>Vote</b> &amp; count",
        categories=("news",),
        description='<div class="article"><script>x()</script><p>The vote.</p></div>',
    )
    assert sent.text == shown.text

"""The Markdown is rendered by a real parser: what comes out as text is what went in."""

import html
import re

import pytest
from markdown_it import MarkdownIt

from worker.archive.markdown import code, plain

HOSTILE = [
    "`",
    "a`b``c",
    "` x `",
    "",
    " ",
    "a|b | c",
    "\\|",
    "](https://evil.example) [x](y)",
    "![x](https://evil.example/pixel.png)",
    "<script>alert(1)</script><img src=x>",
    "**bold** _em_ ~~gone~~",
    "# heading\n\n## another\n- item",
    "&lt; &#x41; &amp;",
    "$x^2$ ==marked== @mention #12",
    "\x1b[2J\u202e",
    "trailing \\",
    "---",
    "{class} a photo",
]


def shown(markdown: str) -> list[str]:
    """The cells of a one-row table with this in its second column, as a reader sees them; they hold no HTML but code."""
    document = f"| | |\n|---|---|\n| x | {markdown} |\n| end | end |\n"
    rendered = MarkdownIt("commonmark").enable(["table", "strikethrough"]).render(document)
    cells = re.findall(r"<td>(.*?)</td>", rendered, re.DOTALL)
    texts = [re.sub(r"<code>(.*)</code>", r"\1", cell, flags=re.DOTALL) for cell in cells]
    assert not any("<" in text for text in texts), rendered
    return [html.unescape(text) for text in texts]


def visible(text: str) -> str:
    return text.replace("\n", r"\x0a").replace("\x1b", r"\x1b").replace("\u202e", r"\u202e")


@pytest.mark.parametrize("text", HOSTILE)
def test_code_shows_the_text_and_nothing_else(text):
    cells = shown(f"before {code(text)} after")
    assert cells[0::2] == ["x", "end"]
    assert cells[1] == f"before {visible(text) or ' '} after"


@pytest.mark.parametrize("text", HOSTILE)
def test_plain_text_shows_the_text_and_nothing_else(text):
    assert shown(plain(text)) == ["x", visible(text).strip(), "end", "end"]


@pytest.mark.parametrize(
    "text", ["# no heading", "> no quote", "- no list", "https://evil.example", "www.evil.example", "me@x.example"]
)
def test_a_warning_in_a_list_stays_one_line_of_text_without_links(text):
    rendered = MarkdownIt("commonmark").enable("table").render(f"- warning: {plain(text)}\n")
    assert rendered == f"<ul>\n<li>warning: {html.escape(text)}</li>\n</ul>\n"
    assert "://" not in plain(text)
    assert "www." not in plain(text)


def test_words_without_marks_are_written_as_they_are():
    assert plain("48 of 50 guided steps had no gradient") == "48 of 50 guided steps had no gradient"
    assert code("file:///data/flowers") == "`file:///data/flowers`"

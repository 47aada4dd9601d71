import json
import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.domain.errors import DatasetRejected, FieldProblem
from app.domain.job import MOST_CHARACTERS, Failure, FailureKind, JobWarning, WarningCode
from app.domain.text import printable, printable_json, printable_lines, refuse_unstorable, storable

LATIN1 = b"caf\xe9.jpg".decode("utf-8", "surrogateescape")


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        (LATIN1, r"caf\xe9.jpg"),
        ("a\0b", r"a\x00b"),
        ("\x1b[2J", r"\x1b[2J"),
        ("\x9b2J", r"\x9b2J"),
        ("one\ntwo\r\t", r"one\x0atwo\x0d\x09"),
        ("gpj.\u202eexe", r"gpj.\u202eexe"),
        ("\ud800", r"\ud800"),
        ("café 猫 👩\u200d🚀 [/x]", "café 猫 👩\u200d🚀 [/x]"),
    ],
)
def test_what_cannot_be_shown_is_shown_as_an_escape(text, shown):
    assert printable(text) == shown


def test_new_lines_are_kept_where_a_text_may_have_several():
    assert printable_lines("one\ntwo\x1b\r") == "one\ntwo\\x1b\\x0d"


def test_only_what_cannot_be_stored_changes_in_what_is_stored():
    assert storable(f"{LATIN1}\0\x1b\n\u202e") == "caf\\xe9.jpg\\x00\x1b\n\u202e"


@given(st.text(st.characters(codec=None, categories=None)))
def test_every_text_becomes_one_that_can_be_encoded(text):
    assert "\0" not in storable(text).encode().decode()
    shown = printable(text).encode().decode()
    assert not any(unicodedata.category(character) in ("Cc", "Cs", "Zl", "Zp") for character in shown)


@given(st.recursive(st.text() | st.none(), lambda inner: st.dictionaries(st.text(), inner) | st.lists(inner)))
@pytest.mark.slow
def test_a_json_document_that_is_shown_means_the_same(value):
    document = json.dumps(value, ensure_ascii=False, indent=2)
    assert json.loads(printable_json(document)) == value
    assert "\x9b" not in printable_json(document)


@pytest.mark.parametrize("value", ["a\0", "\ud800", ["a", "\0"], {"a\0": 1}, {"a": ("b", "\udce9")}])
def test_what_no_database_keeps_is_refused_wherever_it_lies(value):
    with pytest.raises(ValueError, match="must not contain the character"):
        refuse_unstorable(value)


def test_what_every_database_keeps_is_left_as_it_is():
    value = {"a": ["\x1b", 1, None, ("é",)]}
    assert refuse_unstorable(value) is value


@pytest.mark.parametrize(
    "text", [str(DatasetRejected(LATIN1)), FieldProblem("x", LATIN1).message, FieldProblem(LATIN1, "x").field]
)
def test_errors_speak_in_text_that_can_be_stored_and_shown(text):
    assert text == r"caf\xe9.jpg"


@pytest.mark.parametrize(
    "message",
    [lambda text: Failure(FailureKind.INTERNAL, text).message, lambda text: JobWarning(WarningCode.LOW_COVERAGE, text).message],
)
@pytest.mark.slow
def test_messages_of_a_job_can_be_stored_and_have_an_end(message):
    assert message(LATIN1) == r"caf\xe9.jpg"
    assert message("x" * MOST_CHARACTERS) == "x" * MOST_CHARACTERS
    assert message("\0" * 10**6) == r"\x00" * (MOST_CHARACTERS // 4) + "…"

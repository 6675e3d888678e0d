import pytest

from seedcli.benchmarks.answers import cut_answer, drop_final_period, first_line


@pytest.mark.parametrize(
    ("answer", "phrase", "line", "whole"),
    [
        ("yes.", "yes", "yes.", "yes."),
        (
            "\n  a red bus. \nQuestion: what next?",
            "a red bus",
            "a red bus.",
            "a red bus. \nQuestion: what next?",
        ),
        ("3.5", "3.5", "3.5", "3.5"),
        ("wait...", "wait", "wait...", "wait..."),
        (" \n ", "", "", ""),
    ],
)
def test_what_is_scored(answer, phrase, line, whole):
    assert [cut_answer(answer, cut) for cut in ("phrase", "line", "whole")] == [phrase, line, whole]


def test_the_steps():
    assert first_line("\n\nb\nc") == "b"
    assert drop_final_period("a. b. ") == "a. b"

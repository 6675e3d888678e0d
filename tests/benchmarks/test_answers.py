import pytest

from seedcli.benchmarks.answers import cut_answer


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
        ("\n\na. b. \nc", "a. b", "a. b.", "a. b. \nc"),
        ("3.5", "3.5", "3.5", "3.5"),
        ("wait...", "wait", "wait...", "wait..."),
        (" \n ", "", "", ""),
    ],
)
def test_what_is_scored(answer, phrase, line, whole):
    assert [cut_answer(answer, cut) for cut in ("phrase", "line", "whole")] == [phrase, line, whole]

"""Which answers count as an image."""

import pytest

from seedcli.models.language.answer import first_image
from seedcli.models.language.code_vocabulary import CodeVocabulary

# words 0..9, codes 10..13 (0..3), BOI 20, EOI 21; an image is two codes
VOCABULARY = CodeVocabulary(
    first_code=10, num_codes=4, num_queries=2, boi=20, eoi=21, bos=1, eos=2, pad=0
)


@pytest.mark.parametrize(
    ("ids", "opened", "codes"),
    [
        ([10, 13, 21], True, (0, 3)),
        ([10, 13, 21, 5, 20, 11, 11], True, (0, 3)),  # what follows does not count
        ([5, 20, 11, 12, 21, 5], False, (1, 2)),
        ([10, 13], True, None),  # cut short
        ([10, 21], True, None),
        ([10, 11, 12, 21], True, None),
        ([10, 5, 21], True, None),
        ([20, 10, 21, 20, 10, 13, 21], False, None),  # the first is malformed
        ([5, 6], False, None),
        ([10, 13, 21], False, None),
        ([], True, None),
    ],
)
def test_the_first_span_is_exactly_the_codes_and_the_end(ids, opened, codes):
    assert first_image(ids, VOCABULARY, opened=opened) == codes

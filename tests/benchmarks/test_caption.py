import shutil

import pytest

from seedcli.benchmarks.caption import score_captions, words_of

# Captions -> what Stanford's PTB tokenizer 3.4.1 makes of them, lower-cased and without
# punctuation, as coco-caption calls it.
PTB = {
    "A man's dog isn't barking, it's 3 o'clock.": "a man 's dog is n't barking it 's 3 o'clock",
    "Two people (a man and a woman) ride a black-and-white horse.": "two people -lrb- a man and a "
    "woman -rrb- ride a black-and-white horse",
    "A $5.00 bill & a 50% off sign.": "a $ 5.00 bill & a 50 % off sign",
    "The U.S. flag waves.": "the u.s. flag waves",
    "a T-shirt/jeans on a bed": "a t-shirt/jeans on a bed",
    "A café; crème brûlée!": "a café crème brûlée",
    "1,000 birds at 5:30 pm": "1,000 birds at 5:30 pm",
    "he'll've gone; we're they've I'm she'd": "he 'll 've gone we 're they 've i 'm she 'd",
    "cannot gonna wanna": "can not gon na wan na",
    "women’s tennis, 2nd round": "women 's tennis 2nd round",
    "man\tand  woman": "man and woman",
    "the dogs' toys -- with cheese...": "the dogs toys with cheese",
}


@pytest.mark.parametrize(("caption", "words"), PTB.items())
def test_words(caption, words):
    assert words_of(caption) == words


@pytest.mark.skipif(shutil.which("java") is None, reason="the PTB tokenizer is a Java program")
def test_ptb_says_the_same():
    captions, references = list(PTB), [["a man and a dog on a bed"]] * len(PTB)
    assert score_captions(captions, references, tokenisation="ptb") == score_captions(
        captions, references
    )


def test_a_perfect_caption_and_an_empty_one():
    references = [
        ["a red bus on the street"],
        ["two birds in the blue sky"],
        ["a boat on a quiet river"],
    ]
    scores = score_captions(["A red bus on the street.", "", "a cat"], references)
    assert scores.cider[0] == pytest.approx(1000)  # CIDEr-D of a caption that is the reference
    assert scores.cider[1] == scores.rouge_l[1] == 0
    assert 0 < scores.metrics["bleu_1"] < 100


def test_nothing_to_compare_with_is_refused():
    with pytest.raises(ValueError, match="references"):
        score_captions(["a dog"], [[]])


def test_ptb_without_java_is_refused(monkeypatch):
    monkeypatch.setenv("PATH", "")
    with pytest.raises(Exception, match="no java"):
        score_captions(["a dog"], [["a dog"]], tokenisation="ptb")


def test_cider_of_a_single_picture_is_none():
    """It weighs words by how rare they are among pictures."""
    scores = score_captions(["a dog"], [["a dog", "the dog"]])
    assert scores.metrics["cider"] is None and scores.cider == []
    assert scores.metrics["rouge_l"] == 100.0

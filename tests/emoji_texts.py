"""Words of the emoji set, for vocabularies that tests learn."""

from seedcli.data.emoji import EmojiPicture, read_emoji


def train_texts() -> list[str]:
    """Every distinct text of the train split: labels, tags, group and subgroup names, sorted."""
    return _texts(read_emoji("train"))


def all_texts() -> list[str]:
    """The same of all splits."""
    return _texts(read_emoji())


def _texts(pictures: list[EmojiPicture]) -> list[str]:
    texts: set[str] = set()
    for picture in pictures:
        texts.update((picture.label, picture.group, picture.subgroup, *picture.tags))
    return sorted(texts)

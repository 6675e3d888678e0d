"""The state on disk: planning, journals that are torn, failures."""

from __future__ import annotations

import json

import pytest

from seedcli.data.images.items import Container, Item
from seedcli.data.tokens.job import freeze_job, open_job
from seedcli.data.tokens.outcomes import Outcome, ShardJournal, read_journal
from seedcli.errors import DataError


def items(count: int) -> list[Item]:
    return [Item(f"k{number}", f"s{number}", path=f"/p/{number}.png") for number in range(count)]


def outcomes(count: int, failed: tuple[int, ...] = ()) -> list[Outcome]:
    return [
        Outcome(
            f"k{n}",
            f"s{n}",
            None if n in failed else [n, 1],
            None,
            None,
            "is bad" if n in failed else None,
        )
        for n in range(count)
    ]


def test_files_are_cut_into_shards_and_come_back(tmp_path):
    job = freeze_job(tmp_path / "w", items(25), {"fingerprint": "f"}, shard_size=10)
    assert [(shard.name, shard.num_items) for shard in job.shards] == [
        ("images-000000", 10),
        ("images-000001", 10),
        ("images-000002", 5),
    ]
    assert job == open_job(tmp_path / "w")
    assert [item for shard in job.shards for item in job.items(shard)] == items(25)
    assert list(job.items(job.shards[1], skip=7)) == items(25)[17:20]
    assert len({shard.digest for shard in job.shards}) == 3


def test_containers_are_shards_of_their_own_and_names_stay_apart(tmp_path):
    entries = [
        *items(3),
        Container("tar", "a/0.tar"),
        *items(2),
        Container("tar", "b/0.tar"),
        Container("tar", "1.tar"),
    ]
    job = freeze_job(tmp_path / "w", entries, {}, shard_size=10)
    assert [shard.name for shard in job.shards] == [
        "000000-images-000000",
        "000001-0",
        "000002-images-000001",
        "000003-0",
        "000004-1",
    ]
    assert job.num_items is None


def test_limit_counts_files(tmp_path):
    job = freeze_job(tmp_path / "w", items(25), {}, shard_size=10, limit=12)
    assert [shard.num_items for shard in job.shards] == [10, 2]
    assert job.num_items == 12


def test_no_manifest_before_the_listing_is_complete(tmp_path):
    def broken():
        yield items(1)[0]
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        freeze_job(tmp_path / "w", broken(), {}, shard_size=10)
    assert open_job(tmp_path / "w") is None
    with pytest.raises(DataError, match="no image"):
        freeze_job(tmp_path / "w", [], {}, shard_size=10)
    assert not (tmp_path / "w").exists()
    (tmp_path / "w").mkdir()
    (tmp_path / "w" / "manifest.json").write_text("{")
    with pytest.raises(DataError, match="cannot be read"):
        open_job(tmp_path / "w")


@pytest.mark.parametrize(
    "torn",
    [
        b"",
        b'[2, [["k9", "s9", [1',
        b'[2, [["k9", "s9", [1, 2], null, null, null]]]',
        b"\x00\x00\n[]\n",
    ],
)
def test_a_torn_journal_keeps_its_whole_lines(tmp_path, torn):
    journal = ShardJournal(tmp_path / "j")
    journal.add(outcomes(4))
    journal.add(outcomes(3, failed=(1,)))
    journal.close()
    whole = (tmp_path / "j").read_bytes()
    (tmp_path / "j").write_bytes(whole + torn)
    journal = ShardJournal(tmp_path / "j")
    assert (journal.num_batches, journal.num_done, journal.num_failed, journal.ended) == (
        2,
        6,
        1,
        False,
    )
    assert (tmp_path / "j").read_bytes() == whole
    journal.add(outcomes(1))
    journal.add("end")
    journal.close()
    found = list(read_journal(tmp_path / "j"))
    assert found == [*outcomes(4), *outcomes(3, failed=(1,)), *outcomes(1)]
    journal = ShardJournal(tmp_path / "j")
    assert journal.ended
    journal.close()


def test_lines_of_a_second_writer_are_not_taken_for_further_ones(tmp_path):
    first, second = ShardJournal(tmp_path / "j"), ShardJournal(tmp_path / "j")
    for journal in (first, second, first):
        journal.add(outcomes(2))
    first.add("end")
    first.close()
    second.close()
    assert list(read_journal(tmp_path / "j")) == outcomes(2) * 2
    with ShardJournal(tmp_path / "j") as journal:
        assert (journal.num_batches, journal.ended) == (1, False)


def test_of_two_listings_the_first_stands(tmp_path):
    first = freeze_job(tmp_path / "w", items(25), {"fingerprint": "f"}, shard_size=10)
    second = freeze_job(tmp_path / "w", items(30), {"fingerprint": "f"}, shard_size=10)
    assert second == first == open_job(tmp_path / "w")
    assert [item for shard in second.shards for item in second.items(shard)] == items(25)


def test_a_lost_shard_counts_all_its_images(tmp_path):
    job = freeze_job(tmp_path / "w", items(25), {}, shard_size=10)
    job.write_lost(job.shards[0], "it ended 3 worker processes")
    job.write_errors("images-000001", [(3, outcomes(4, failed=(3,))[3])])
    assert [job.num_failed(job.shards[:1]), job.num_failed(job.shards)] == [10, 11]


def test_errors_are_listed_in_order_and_vanish_with_their_cause(tmp_path):
    job = freeze_job(tmp_path / "w", items(20), {}, shard_size=10)
    job.write_errors("images-000001", [(3, outcomes(4, failed=(3,))[3])])
    job.write_errors("images-000000", [(7, outcomes(8, failed=(7,))[7])])
    job.publish_errors(tmp_path / "errors.jsonl")
    lines = [json.loads(line) for line in (tmp_path / "errors.jsonl").read_text().splitlines()]
    assert lines[0] == {
        "source": "s7",
        "key": "k7",
        "error": "is bad",
        "shard": "images-000000",
        "index": 7,
    }
    assert lines[1]["index"] == 3
    job.write_errors("images-000000", [])
    job.write_errors("images-000001", [])
    job.publish_errors(tmp_path / "errors.jsonl")
    assert not (tmp_path / "errors.jsonl").exists()

"""Ray, where it is installed: two nodes on this machine, one of which is killed."""

from __future__ import annotations

import contextlib
import json
import os
from pathlib import Path

import pytest

from seedcli.console import Reporter
from seedcli.engine.engines import EngineChoice
from seedcli.engine.workers import open_workers
from seedcli.errors import DataError
from seedcli.workflows.tokenize.run import run
from tests.engine.pictures import ask_for, poison_path, shard_bytes, write_pictures
from tests.engine.test_engines import EXPECTED, PARTS, contents
from tests.engine.workers import Squares

ray = pytest.importorskip("ray")
pytestmark = [pytest.mark.slow, pytest.mark.timeout(400)]


@pytest.fixture(scope="module")
def cluster():
    from ray.cluster_utils import Cluster

    before = dict(os.environ)
    os.environ |= {
        "PYTHONPATH": poison_path(),
        "RAY_USAGE_STATS_ENABLED": "0",
        "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0",
    }
    head = {"num_cpus": 2, "include_dashboard": False, "object_store_memory": 80_000_000}
    cluster = Cluster(initialize_head=True, head_node_args=head)
    try:
        yield cluster
    finally:
        ray.shutdown()
        cluster.shutdown()
        os.environ.clear()
        os.environ.update(before)


def on_ray(cluster) -> EngineChoice:
    return EngineChoice(ray_address=cluster.address, actors=2)


def test_the_files_are_the_same_and_a_deadly_part_is_lost(cluster, tmp_path):
    work = Squares(tmp_path, deadly=frozenset({12}), wrong=frozenset({77}))
    with open_workers(on_ray(cluster), work, device="cpu") as workers:
        reports = list(workers.run(PARTS))
        with pytest.raises(DataError, match="77 is wrong") as raised:
            list(workers.run([(1,), (77,)]))
    assert {report.part for report in reports if report.state == "lost"} == {PARTS[2]}
    assert len([report for report in reports if report.state != "running"]) == len(PARTS)
    said = [report.said for report in reports if report.part == PARTS[0] and report.said]
    assert said == [1, 4, 9, 16]
    assert (tmp_path / "died-12").read_text() == "xxx"
    assert contents(tmp_path) == {
        name: text for name, text in EXPECTED.items() if name != "10.txt"
    } | {"1.txt": "1"}
    assert raised.value.remedy == "another number"


class KillingReporter(Reporter):
    """Kills a node when some pictures are done."""

    def __init__(self, cluster, node, after: int):
        self.cluster, self.node, self.after, self.warnings = cluster, node, after, []

    def warn(self, text):
        self.warnings.append(text)

    @contextlib.contextmanager
    def progress(self, description, total=None):
        with super().progress(description, total) as progress:
            count = progress.advance

            def advance(n=1, **figures):
                count(n, **figures)
                if self.node is not None and progress.done >= self.after:
                    node, self.node = self.node, None
                    self.cluster.remove_node(node, allow_graceful=False)

            progress.advance = advance
            yield progress


def test_a_node_that_is_killed_and_a_poisoned_picture_cost_nothing_else(
    cluster, tmp_path, tiny_tokenizer_folder, monkeypatch
):
    monkeypatch.chdir(tmp_path)
    write_pictures(tmp_path / "pictures", 20)
    (tmp_path / "pictures" / "07.png").write_bytes(b"POISON")
    reference = run(ask_for(tiny_tokenizer_folder, output=tmp_path / "one", workers=1))
    node = cluster.add_node(num_cpus=2, object_store_memory=80_000_000)
    reporter = KillingReporter(cluster, node, after=4)
    request = ask_for(
        tiny_tokenizer_folder, output=tmp_path / "ray", workers=1, engine=on_ray(cluster)
    )
    summary = run(request, reporter=reporter)
    assert reporter.node is None
    assert (summary.images, summary.failed, summary.shards) == (19, 1, 4)
    assert (summary.images, summary.failed) == (reference.images, reference.failed)
    assert shard_bytes(tmp_path / "ray") == shard_bytes(tmp_path / "one")
    errors = (tmp_path / "ray" / "errors.jsonl").read_text()
    assert json.loads(errors)["error"] == "the decoder crashed on it"
    assert any("went" in warning for warning in reporter.warnings)
    assert not list(Path(tmp_path / "ray" / ".seed").glob("*.journal"))


def test_no_cluster_at_the_address_is_named(tmp_path):
    ray.shutdown()
    with pytest.raises(DataError, match="no Ray cluster at") as raised:
        with open_workers(EngineChoice(ray_address="127.0.0.1:1"), Squares(tmp_path)):
            pass
    assert "ray start --head" in raised.value.remedy

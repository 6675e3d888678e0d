"""Where the time goes is told by stage."""

from __future__ import annotations

from collections import Counter

from seedcli.workflows.tokenize.stages import STAGES, StageClock, bottleneck


def test_every_stage_is_counted_once(monkeypatch):
    now = 0.0
    monkeypatch.setattr("seedcli.workflows.tokenize.stages.time.perf_counter", lambda: now)

    def after(seconds, values):
        nonlocal now
        for value in values:
            now += seconds
            yield value

    clock = StageClock()
    read = clock.waiting("read", after(1.0, range(3)))
    assert list(clock.waiting("decode", after(4.0, read))) == [0, 1, 2]
    with clock.of("encode"):
        now += 1.5
        with clock.of("write"):
            now += 8.0
        now += 0.5
    assert clock.take() == {"read": 3.0, "decode": 12.0, "encode": 2.0, "write": 8.0}
    assert clock.take() == dict.fromkeys(STAGES, 0.0)


def test_the_slowest_stage_is_named_with_what_helps():
    line = bottleneck(Counter({"read": 1.0, "decode": 7.0, "encode": 2.0}))
    assert line.startswith("held back by decode (read 10%, decode 70%, encode 20%, write 0%)")
    assert "--workers" in line

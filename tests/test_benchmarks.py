"""The harness of the benchmarks works: it times, judges and writes tables. No peer is needed, no speed is asserted."""

import importlib
import math
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]


@pytest.fixture
def harness(monkeypatch):
    monkeypatch.syspath_prepend(str(ROOT))
    return importlib.import_module("benchmarks.harness")


@pytest.fixture
def rows(harness):
    def made(name, aim, seconds, *facts):
        benchmark = harness.Benchmark(name, f"what {name} does", aim, lambda _: None)
        timing = harness.Timing(seconds, seconds / 2, 3, 1.5)
        return harness.Row(benchmark, harness.Result(timing, facts, (harness.Peer("lavaan", 0.034, True),)))

    failed = harness.Row(harness.Benchmark("broken", "nothing", 1.0, lambda _: None), None, "ValueError: no | data")
    return [
        made("good", 1e-2, 2e-3, harness.Fact("chi-square minus lavaan's +1e-06", True), harness.Fact("by the way")),
        made("late", 1e-3, 2e-3),
        made("wrong", None, 2e-3, harness.Fact("chi-square minus lavaan's +7", False)),
        failed,
    ]


def test_measure_prepares_outside_the_clock(harness):
    prepared, seen = [], []
    timing, last = harness.measure(
        lambda given: seen.append(given) or given, 4, lambda: prepared.append(0) or len(prepared)
    )
    assert seen == [1, 2, 3, 4, 5, 6] and last == 6
    assert timing.n == 4 and 0 <= timing.least <= timing.median and timing.first >= 0


def test_rows_say_what_they_miss(rows):
    good, late, wrong, failed = (row.misses for row in rows)
    assert good == ()
    assert late == ("2 ms against an aim of 1 ms",)
    assert wrong == ("chi-square minus lavaan's +7",)
    assert failed == ("failed: ValueError: no | data",)


def test_a_row_that_raises_does_not_stop_the_others(harness):
    fine = harness.Result(harness.Timing(1.0, 1.0, 1))
    found = harness.run(
        [harness.Benchmark("a", "", None, lambda _: 1 / 0), harness.Benchmark("b", "", None, lambda _: fine)],
        harness.Options(),
    )
    assert found[0].error == "ZeroDivisionError: division by zero" and found[0].result is None
    assert found[1].result is fine and not found[1].misses


def test_tables(harness, rows):
    head = harness.header(harness.Options(3, 7))
    assert head["seed"] == "7" and "jax " in head["versions"] and "cores" in head["machine"]
    text = harness.as_text(head, rows)
    assert (
        "10 ms met" in text and "1 ms MISSED" in text and "lavaan 34 ms (quoted)" in text and "peer / ours: 17" in text
    )
    page = harness.as_markdown("Benchmarks", "python -m benchmarks.sem", head, rows)
    table = [line for line in page.splitlines() if line.startswith("|")]
    assert len(table) == 2 + len(rows)
    assert {line.replace("\\|", "").count("|") for line in table} == {len(harness.COLUMNS) + 1}
    assert "- late: 2 ms against" in page and "no \\| data" in page


@pytest.mark.parametrize(
    ("value", "text"), [(math.nan, ""), (69.5, "69.5 s"), (0.0123, "12.3 ms"), (4.7e-4, "470 us"), (0.9999, "1000 ms")]
)
def test_seconds(harness, value, text):
    assert harness.seconds(value) == text


def test_select(harness):
    every = [harness.Benchmark(name, "", None, lambda _: None) for name in ("fiml", "cfa_p30", "cfa_p60", "memory")]
    names = lambda found: [b.name for b in found]  # noqa: E731
    assert names(harness.select(every, [], ["memory"])) == ["fiml", "cfa_p30", "cfa_p60"]
    assert names(harness.select(every, ["cfa_*", "fiml"], ["cfa_p60"])) == ["fiml", "cfa_p30"]
    with pytest.raises(ValueError, match="one of fiml, cfa_p30"):
        harness.select(every, ["nothing"], [])


def test_one_row_end_to_end(harness, monkeypatch, capsys, tmp_path):
    sem = importlib.import_module("benchmarks.sem")
    page = tmp_path / "page.md"
    assert sem.main(["--only", "hs_compiled", "--repeat", "1", "--markdown", str(page)]) == 0
    shown = capsys.readouterr().out
    assert "hs_compiled" in shown and "chi-square 85.3055" in shown and "FAILED" not in shown
    assert "python -m benchmarks.sem --only hs_compiled --repeat 1\n" in page.read_text()
    assert str(tmp_path) not in page.read_text()


def test_check_fails_where_an_aim_is_missed(harness, monkeypatch, capsys):
    sem = importlib.import_module("benchmarks.sem")
    slow = harness.Result(harness.Timing(2.0, 2.0, 1))
    monkeypatch.setattr(sem, "ROWS", (harness.Benchmark("slow", "waits", 1.0, lambda _: slow),))
    assert sem.main([]) == 0
    assert sem.main(["--check"]) == 1
    assert "slow misses: 2 s against an aim of 1 s" in capsys.readouterr().out
    with pytest.raises(SystemExit) as stop:
        sem.main(["--only", "fast"])
    assert stop.value.code == 2

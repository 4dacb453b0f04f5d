"""Responses in Parquet files: the same as in memory, in batches that can be had again, in bounded memory."""

from __future__ import annotations

import subprocess
import sys
import threading
import time

import numpy as np
import pandas as pd
import pytest

import jaxlatent as jl
from jaxlatent.data.coding import coding_of
from jaxlatent.data.parquet import WideRows
from jaxlatent.data.prefetch import prefetched

pytest.importorskip("pyarrow")

ITEMS = ["a", "b", "c"]


def frame_of(n=500, seed=0):
    rng = np.random.default_rng(seed)
    y = rng.integers(1, 4, (n, 3)).astype(float)
    y[:, 2] = np.where(y[:, 2] == 2, 5, y[:, 2])
    y[rng.random(y.shape) < 0.2] = np.nan
    y[[3, n // 2]] = np.nan
    return pd.DataFrame(y, columns=ITEMS).assign(
        sex=np.where(rng.random(n) < 0.4, "m", "f"), w=rng.uniform(0.5, 2, n), age=rng.normal(40, 9, n)
    )


@pytest.fixture
def frame():
    return frame_of()


@pytest.fixture
def path(frame, tmp_path):
    frame.to_parquet(tmp_path / "rows.parquet", row_group_size=64)
    return tmp_path / "rows.parquet"


def joined(batches):
    """All rows that are no padding, one array a field."""
    every = [np.concatenate(parts) if parts[0] is not None else None for parts in zip(*batches, strict=True)]
    real = every[5] >= 0
    return [None if a is None else a[real] for a in every]


def test_scan_tells_what_memory_tells(frame, path):
    scanned = jl.Responses.scan(path, group="sex", weights="w", covariates=["age"])
    held = jl.Responses.from_frame(frame, ITEMS, group="sex", weights="w", covariates=["age"])
    assert scanned.names == held.names
    assert (scanned.n_persons, scanned.group_labels, scanned.notes) == (len(held.y), held.group_labels, held.notes)
    kinds = ([True, True, True], [False] * 3)
    assert scanned.coding(*kinds) == coding_of(held.y, held.names, *kinds)
    for g in range(2):
        rows = held.y[held.group == g]
        np.testing.assert_allclose(scanned.margins.mean[g], np.nanmean(rows, 0), rtol=1e-12)
        np.testing.assert_allclose(scanned.margins.variance[g], np.nanvar(rows, 0), rtol=1e-12)
        for j, known in enumerate(scanned.coding(*kinds).values):
            np.testing.assert_array_equal(scanned.margins.counts[j][g], [(rows[:, j] == v).sum() for v in known])
    np.testing.assert_array_equal(scanned.sample.y, held.y)
    np.testing.assert_allclose(scanned.sample.weight, held.weight, rtol=1e-12)


@pytest.mark.parametrize("coded", [True, False], ids=["codes", "values"])
@pytest.mark.parametrize("buffer", [1, 5000, 64 << 20])
def test_an_epoch_has_every_person_once(frame, path, coded, buffer):
    scanned = jl.Responses.scan(path, group="sex", weights="w", covariates=["age"])
    held = jl.Responses.from_frame(frame, ITEMS, group="sex", weights="w", covariates=["age"])
    coding = scanned.coding([True] * 3, [False] * 3) if coded else None
    batches = list(scanned.batches(48, coding=coding, key=1, buffer=buffer))
    assert len(batches) == scanned.n_batches(48) == -(-len(held.y) // 48)
    assert {b.y.shape for b in batches} == {(48, 3)}
    assert all(b.y.dtype == (np.int8 if coded else np.float64) for b in batches)
    padding = batches[-1].person < 0
    assert padding.sum() == 48 * len(batches) - len(held.y) and (batches[-1].weight[padding] == 0).all()
    y, observed, group, weight, covariates, person = joined(batches)
    assert (np.sort(person) == np.arange(len(held.y))).all()
    expected = held.y if coding is None else coding.encode(held.y)
    seen = ~np.isnan(held.y)
    np.testing.assert_array_equal(observed, seen[person])
    np.testing.assert_array_equal(y, np.where(seen, expected, 0)[person])
    np.testing.assert_array_equal(group, held.group[person])
    np.testing.assert_allclose(weight, held.weight[person], rtol=1e-12)
    np.testing.assert_array_equal(covariates, held.covariates[person])


def test_order_depends_on_key_and_epoch_only_and_starts_anywhere(path):
    scanned = jl.Responses.scan(path, ITEMS)

    def people(**given):
        return [b.person for b in scanned.batches(32, buffer=4000, **given)]

    first = people(key=7, epoch=2)
    np.testing.assert_array_equal(first, people(key=7, epoch=2))
    for other in ({"key": 7, "epoch": 3}, {"key": 8, "epoch": 2}):
        assert (np.concatenate(first) != np.concatenate(people(**other))).mean() > 0.9
    for start in range(len(first) + 1):
        rest = people(key=7, epoch=2, start=start)
        assert len(rest) == len(first) - start
        assert all((a == b).all() for a, b in zip(rest, first[start:], strict=True))
    plain = np.concatenate(people(shuffle=False))
    np.testing.assert_array_equal(plain[plain >= 0], np.arange(scanned.n_persons))


def test_shuffled_rows_are_not_in_order(path):
    scanned = jl.Responses.scan(path, ITEMS)
    person = np.concatenate([b.person for b in scanned.batches(32)])
    person = person[person >= 0]
    # the rank correlation of n independent places has standard deviation 1 / sqrt(n - 1)
    assert abs(np.corrcoef(person, np.arange(len(person)))[0, 1]) < 4 / np.sqrt(len(person) - 1)


def test_a_folder_is_its_files_in_order(frame, path, tmp_path):
    (tmp_path / "parts").mkdir()
    for k in range(3):
        frame.iloc[k * 200 : (k + 1) * 200].to_parquet(tmp_path / "parts" / f"{k}.parquet", row_group_size=90)
    whole, parts = jl.Responses.scan(path, ITEMS), jl.Responses.scan(tmp_path / "parts", ITEMS)
    rows = [joined(s.batches(50, shuffle=False)) for s in (whole, parts)]
    np.testing.assert_array_equal(rows[0][0], rows[1][0])
    np.testing.assert_allclose(whole.margins.mean, parts.margins.mean, rtol=1e-14)


@pytest.mark.parametrize("row_group_size", [7, 100, 10_000])
def test_answers_in_rows_are_persons(tmp_path, row_group_size):
    rng = np.random.default_rng(3)
    wide = pd.DataFrame(rng.integers(0, 3, (60, 5)).astype(float), columns=list("edcba"))
    wide = wide.mask(rng.random(wide.shape) < 0.4)
    wide.iloc[10] = np.nan
    long = wide.rename_axis("who").reset_index().melt("who", var_name="what", value_name="answer")
    long = long.sort_values("who", kind="stable")
    long = long[long.answer.notna() | (rng.random(len(long)) < 0.5)]
    long.to_parquet(tmp_path / "long.parquet", row_group_size=row_group_size, index=False)
    names = {"person": "who", "item": "what", "response": "answer"}
    scanned, held = jl.Responses.scan(tmp_path / "long.parquet", **names), jl.Responses.from_long(long, **names)
    assert scanned.names == held.names
    y, observed, *_ = joined(scanned.batches(16, shuffle=False))
    np.testing.assert_array_equal(np.where(observed, y, np.nan), held.y)
    person = joined(scanned.batches(16, key=4, buffer=500))[5]
    np.testing.assert_array_equal(np.sort(person), np.arange(len(held.y)))


def readers():
    return [t for t in threading.enumerate() if t.name == "jaxlatent-prefetch"]


def test_the_thread_ends_when_the_consumer_stops(path):
    batches = jl.Responses.scan(path, ITEMS).batches(8, buffer=1)
    next(batches)
    assert readers()
    batches.close()
    assert not readers()
    for _ in jl.Responses.scan(path, ITEMS).batches(8, buffer=1):
        break
    assert not readers()


def test_an_error_of_the_reader_reaches_the_caller_after_what_it_read(path):
    closed = []

    def work():
        try:
            yield from (1, 2)
            raise OSError("disk gone")
        finally:
            closed.append(True)

    got = []
    with pytest.raises(OSError, match="disk gone"):
        for item in prefetched(work, 1):
            got.append(item)
    assert got == [1, 2] and closed and not readers()


def test_the_source_is_closed_when_the_consumer_stops():
    closed = threading.Event()

    def work():
        try:
            while True:
                time.sleep(0.001)
                yield 0
        finally:
            closed.set()

    items = prefetched(work, 2)
    next(items)
    items.close()
    assert closed.is_set()


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="reads /proc")
def test_memory_does_not_grow_with_the_file(tmp_path):
    import pyarrow as pa
    import pyarrow.parquet as pq

    rng = np.random.default_rng(0)
    rows = pa.table(list(rng.integers(0, 4, (100_000, 20)).T), names=[f"i{j}" for j in range(20)])
    peaks = []
    for n in (1, 5):
        path = tmp_path / f"{n}.parquet"
        with pq.ParquetWriter(path, rows.schema) as writer:
            for _ in range(n):
                writer.write_table(rows)
        program = f"""
import jaxlatent as jl, jax, numpy as np, pyarrow.parquet
def memory(name):
    return next(int(line.split()[1]) for line in open("/proc/self/status") if line.startswith(name)) / 1024
before = memory("VmRSS")
data = jl.Responses.scan({str(path)!r})
coding = data.coding([True] * 20, [False] * 20)
total = sum(int(batch.weight.sum()) for batch in data.batches(4096, coding=coding, buffer=4 << 20))
assert total == {n * 100_000}, total
print(memory("VmHWM") - before)
"""
        done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=300)
        assert done.returncode == 0, done.stderr
        peaks.append(done.stdout)
    few, many = (float(each) for each in peaks)
    assert few < 200 and many - few < 40, peaks  # 400,000 rows more are 64 MB as floats, and twice that with a copy


@pytest.mark.parametrize(
    ("change", "given", "sentence"),
    [
        ({}, {"variables": ["a", "z"]}, "The variable 'z' is not in the data"),
        ({}, {"group": "school"}, "The group variable 'school' is not in the data"),
        ({}, {}, r"'sex' holds values of type (large_)?string, not numbers"),
        ({"a": 2.0}, {"variables": ITEMS}, "The variable 'a' is constant"),
        ({"a": np.nan}, {"variables": ITEMS}, "The variable 'a' has no values"),
        ({"a": np.inf}, {"variables": ITEMS}, "'a' is infinite in row 1"),
        ({"sex": "f"}, {"variables": ITEMS, "group": "sex"}, "one value only"),
        ({"sex": [None] * 500}, {"variables": ITEMS, "group": "sex"}, "group variable 'sex' is missing"),
        ({"w": -1.0}, {"variables": ITEMS, "weights": "w"}, "positive numbers; got -1 in row 1"),
        ({"age": np.nan}, {"variables": ITEMS, "covariates": ["age"]}, "'age' is missing or infinite"),
        ({"age": 3.0}, {"variables": ITEMS, "covariates": ["age"]}, "'age' is constant"),
        ({}, {"variables": [*ITEMS, "sex"], "group": "sex"}, "also a variable of the model"),
        ({}, {"person": "a"}, "person, item and response together"),
        ({}, {"person": "w", "item": "sex", "response": "b"}, "sorted by the person variable 'w'"),
    ],
)
def test_bad_files_are_refused(frame, tmp_path, change, given, sentence):
    frame.assign(**change).to_parquet(tmp_path / "x.parquet")
    with pytest.raises(ValueError, match=sentence):
        jl.Responses.scan(tmp_path / "x.parquet", **given)


def test_codes_are_refused_as_in_memory(frame, tmp_path):
    odd = frame.assign(a=frame.a.replace(3, 2.5), b=-frame.b, c=np.arange(500.0))
    odd.dropna(how="all", subset=ITEMS).to_parquet(tmp_path / "x.parquet", row_group_size=100)
    scanned = jl.Responses.scan(tmp_path / "x.parquet", ITEMS)
    held = jl.Responses.from_frame(odd.dropna(how="all", subset=ITEMS), ITEMS)
    for item in range(3):
        kinds = [j == item for j in range(3)], [False] * 3
        with pytest.raises(ValueError) as in_memory:
            coding_of(held.y, held.names, *kinds)
        with pytest.raises(ValueError) as on_disk:
            scanned.coding(*kinds)
        memory = str(in_memory.value)
        if item == 2:
            memory = memory.replace(f"has {len(np.unique(held.y[:, 2]))}", "has at least 101")
        assert memory == str(on_disk.value)


def test_other_columns_in_another_file(frame, tmp_path):
    frame.to_parquet(tmp_path / "1.parquet")
    frame.rename(columns={"b": "q"}).to_parquet(tmp_path / "2.parquet")
    with pytest.raises(ValueError, match=r"2\.parquet lacks the column 'b', unlike 1\.parquet"):
        jl.Responses.scan(tmp_path)


def test_what_is_no_parquet_file(tmp_path):
    with pytest.raises(FileNotFoundError, match="No such Parquet file"):
        jl.Responses.scan(tmp_path / "none.parquet")
    with pytest.raises(FileNotFoundError, match="found none"):
        jl.Responses.scan(tmp_path)
    (tmp_path / "text.parquet").write_text("a,b\n1,2\n")
    with pytest.raises(ValueError, match="no readable Parquet file"):
        jl.Responses.scan(tmp_path / "text.parquet")


def test_a_file_that_changed_is_noticed(frame, path):
    scanned = jl.Responses.scan(path, ITEMS)
    frame.iloc[:100].to_parquet(path, row_group_size=64)
    with pytest.raises(ValueError, match="changed while"):
        list(scanned.batches(10))


def test_a_frames_index_is_no_item(frame, tmp_path):
    frame[ITEMS].set_axis(np.arange(500) * 3 + 7).to_parquet(tmp_path / "x.parquet")
    assert jl.Responses.scan(tmp_path / "x.parquet").names == tuple(ITEMS)


@pytest.mark.parametrize("given", [{"batch_size": 0}, {"start": -1}, {"key": 1.5}])
def test_batches_refuses_other_numbers(path, given):
    with pytest.raises(ValueError, match="to be a whole number from"):
        jl.Responses.scan(path, ITEMS).batches(**{"batch_size": 10} | given)


def test_a_value_the_coding_does_not_have(frame, path, tmp_path):
    coding = jl.Responses.scan(path, ITEMS).coding([True] * 3, [False] * 3)
    frame.assign(a=frame.a.replace(1, 9)).to_parquet(tmp_path / "new.parquet")
    with pytest.raises(ValueError, match="'a' has the value 9"):
        list(jl.Responses.scan(tmp_path / "new.parquet", ITEMS).batches(10, coding=coding))


def test_without_pyarrow(path, monkeypatch):
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    monkeypatch.setitem(sys.modules, "pyarrow.parquet", None)
    with pytest.raises(ImportError, match=r"pip install \"jaxlatent\[stream\]\""):
        jl.Responses.scan(path)


def test_fingerprint_tells_data_apart(frame, path, tmp_path):
    frame.to_parquet(tmp_path / "same.parquet", row_group_size=64)
    frame.assign(b=frame.b.fillna(1)).to_parquet(tmp_path / "other.parquet", row_group_size=64)
    same, other, first = (
        jl.Responses.scan(p, ITEMS).fingerprint() for p in (tmp_path / "same.parquet", tmp_path / "other.parquet", path)
    )
    assert same == first and other["values"] != first["values"]


def test_every_kth_person_is_held_where_there_are_many(frame, path, monkeypatch):
    from jaxlatent.data import first_pass

    monkeypatch.setattr(first_pass, "SAMPLE", 100)
    held = jl.Responses.from_frame(frame, ITEMS)
    sample = jl.Responses.scan(path, ITEMS).sample
    np.testing.assert_array_equal(sample.index, np.arange(0, len(held.y), 8))
    np.testing.assert_array_equal(sample.y, held.y[::8])


def test_pieces_are_bounded(path, monkeypatch):
    from jaxlatent.data import parquet

    monkeypatch.setattr(parquet, "CELLS", 30)
    scanned = jl.Responses.scan(path, ITEMS)
    assert isinstance(scanned.source, WideRows)
    assert max(len(piece.y) for piece in scanned.source.pieces(0)) == 10
    assert scanned.n_persons == 498 - int(np.isnan(frame_of()[ITEMS]).all(axis=1).sum() - 2)

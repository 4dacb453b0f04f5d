"""Answers held as triples: the same fit as from a table, without the table."""

from __future__ import annotations

import jax
import numpy as np
import pandas as pd
import pytest

import jaxlatent as jl
from jaxlatent.data import long_arrays, responses
from jaxlatent.data.chunks import chunks_of, dense_chunk
from jaxlatent.data.coding import coding_of
from jaxlatent.data.long_arrays import LongArrays, LongResponses

NAMES = {"person": "who", "item": "what", "response": "answer"}


def log_of(n=400, j=8, share=0.5, categories=2, seed=0):
    """Answers of a one-factor graded model in rows, in random order."""
    rng = np.random.default_rng(seed)
    x, slopes = rng.standard_normal((n, 1)), rng.uniform(0.8, 2, j)
    cuts = np.linspace(-1, 1, categories - 1)[:, None, None] if categories > 2 else np.zeros((1, 1, 1))
    y = (rng.logistic(size=(n, j)) + slopes * x + rng.normal(0, 0.5, j) > cuts).sum(0)
    person, item = np.nonzero(rng.random((n, j)) < share)
    frame = pd.DataFrame({"who": person + 100, "what": [f"i{k}" for k in item], "answer": y[person, item] + 1})
    return frame.sample(frac=1, random_state=seed)


@pytest.fixture(scope="module")
def log():
    return log_of()


def both(frame):
    return [jl.Responses.from_long(frame, **NAMES, dense=dense) for dense in (True, False)]


def test_a_table_and_triples_hold_the_same(log):
    dense, long = both(log)
    assert isinstance(dense, jl.Responses) and isinstance(long, LongResponses)
    table = long.to_dense()
    np.testing.assert_array_equal(table.y, dense.y)
    np.testing.assert_array_equal(table.index, dense.index)
    assert (table.names, table.notes) == (dense.names, dense.notes)
    kinds = [True] * 8, [False] * 8
    coding = coding_of(dense.y, dense.names, *kinds)
    codes = long.arrays.encode(coding)
    assert codes.y.dtype == np.int8
    np.testing.assert_array_equal(codes.dense(-1), coding.encode(dense.y))
    rows, items = np.array([5, 0, 77]), np.array([6, 2])
    np.testing.assert_array_equal(long.arrays.take(rows).dense(), dense.y[rows])
    np.testing.assert_array_equal(long.arrays.select(items).dense(), dense.y[:, items])


def test_triples_are_kept_where_a_table_would_be_wasteful(log, monkeypatch):
    assert isinstance(jl.Responses.from_long(log, **NAMES), jl.Responses)
    monkeypatch.setattr(responses, "DENSE_CELLS", 1000)
    assert isinstance(jl.Responses.from_long(log, **NAMES), jl.Responses)  # half of the cells are answered
    assert isinstance(jl.Responses.from_long(log_of(share=0.2), **NAMES), LongResponses)


@pytest.mark.parametrize("dtype", [np.int8, float])
def test_chunks_of_triples_are_those_of_the_table(dtype):
    rng = np.random.default_rng(1)
    y = rng.integers(0, 4, (70, 6)).astype(dtype)
    lost = rng.random(y.shape) < 0.6
    y[lost] = -1 if dtype is np.int8 else np.nan
    group = rng.integers(0, 2, 70)
    arrays = LongArrays.of(*np.nonzero(~lost), y[~lost], 70, 6)
    more = {"weight": rng.uniform(size=70), "covariates": rng.normal(size=(70, 2))}
    (table, places), (long, own) = (chunks_of(each, group, 2, 16, **more) for each in (y, arrays))
    np.testing.assert_array_equal(places, own)
    for name in ("weight", "group", "design"):
        np.testing.assert_array_equal(getattr(table, name), getattr(long, name))
    for c in range(table.shape[0]):
        one = jax.jit(dense_chunk, static_argnums=(2, 3, 4))
        made = one(jax.tree.map(lambda a, c=c: a[c], long.y), None, 16, 6, np.float32)
        np.testing.assert_array_equal(made[0], table.y[c])
        np.testing.assert_array_equal(made[1], table.seen[c])


ENGINE = jl.MarginalML(integration=jl.GaussHermite(11))


@pytest.fixture(scope="module")
def fits(log):
    """Of a table, and of triples."""
    return [jl.IRT("2pl").fit(each, ENGINE) for each in both(log)]


def assert_same_fit(a, b):
    """Patterns of triples are not collapsed: only the order of sums differs."""
    assert a.converged and b.converged
    assert b.log_likelihood == pytest.approx(a.log_likelihood, rel=1e-9)
    for name in ("est", "se"):
        np.testing.assert_allclose(b.parameters[name], a.parameters[name], rtol=1e-6, atol=1e-6)
    pd.testing.assert_frame_equal(b.scores(), a.scores(), rtol=1e-5, atol=1e-5)
    assert b.notes == a.notes


def test_the_same_fit(fits):
    assert_same_fit(*fits)


@pytest.mark.study
@pytest.mark.parametrize(
    ("model", "rule", "categories"),
    [
        (jl.IRT("graded"), jl.ImportanceSampling(16), 3),
        (jl.IRT("normal"), jl.AdaptiveGaussHermite(5), 4),
        (jl.IRT("2pl", 2), jl.GaussHermite(11), 2),
    ],
    ids=["graded", "normal", "2pl"],
)
def test_the_same_fit_by_other_rules(model, rule, categories):
    engine = jl.MarginalML(integration=rule)
    assert_same_fit(*(model.fit(each, engine) for each in both(log_of(categories=categories, seed=3))))


def test_nothing_of_a_fit_makes_the_table(log, fits, monkeypatch):
    long = both(log)[1]
    monkeypatch.setattr(long_arrays, "MOST_BYTES", 2500)
    with pytest.raises(ValueError, match=f"{long.n_persons} persons x 8 items"):
        long.to_dense()
    monkeypatch.setattr("jaxlatent.inference.marginal_fit.START_ROWS", 100)
    fit = jl.IRT("2pl").fit(long, ENGINE)
    np.testing.assert_allclose(fit.parameters["est"], fits[1].parameters["est"], rtol=1e-4, atol=1e-4)  # other starts
    assert fit.scores().shape == (long.n_persons, 1)
    with pytest.raises(ValueError, match=r"bytes, more than the 2,500 that are allowed"):
        fit.item_fit()


def test_what_needs_the_table_makes_it(fits, tmp_path):
    a, b = fits
    pd.testing.assert_frame_equal(a.local_dependence("q3"), b.local_dependence("q3"), rtol=1e-5, atol=1e-6)
    assert str(b.summary()).count("answers (") == str(a.summary()).count("answers (") == 1
    again = jl.load(b.save(tmp_path / "x.latent", include_data=True))
    np.testing.assert_array_equal(again._fitted.responses.y, a._fitted.responses.y)


def test_items_of_the_model_only(log):
    model = jl.IRT("2pl", "F =~ i1 + i3 + i5 + i6")
    a, b = (model._prepare(each, None, None) for each in both(log))
    assert a.notes == b.notes and any("nothing observed" in note for note in b.notes)
    np.testing.assert_array_equal(a.data.codes, b.data.codes)
    pd.testing.assert_frame_equal(a.table.to_frame(), b.table.to_frame(), rtol=1e-12)


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ({"answer": -1.0}, "constant"),
        (lambda f: f.assign(answer=np.where(f.what == "i2", 1.5, f.answer)), "constant"),
        (lambda f: f.assign(answer=f.answer.where(f.what != "i2")), "'i2' has no values"),
        (lambda f: f.assign(answer=np.where(f.index % 3 == 0, -1, f.answer)), "-1 in row .*, which is negative"),
        (lambda f: f.assign(answer=np.where(f.index % 3 == 0, 1.5, f.answer)), "1.5 in row .*, which is not a whole"),
        (lambda f: pd.concat([f, f.iloc[:1]]), "more than once"),
    ],
)
def test_bad_answers_are_told_as_from_a_table(log, change, sentence):
    frame = log.assign(**change) if isinstance(change, dict) else change(log)
    told = []
    for dense in (True, False):
        with pytest.raises(ValueError, match=sentence) as error:
            jl.IRT("2pl").fit(jl.Responses.from_long(frame, **NAMES, dense=dense))
        told.append(str(error.value))
    assert told[0] == told[1]


def test_options_that_triples_do_not_take(log):
    _, long = both(log)
    with pytest.raises(ValueError, match="needs a table"):
        jl.IRT("2pl").fit(long, missing="listwise")
    with pytest.raises(ValueError, match="leave group and weights out"):
        jl.IRT("2pl").fit(long, group="sex")


def test_a_scanned_file_gives_the_starting_values_of_the_frame(tmp_path):
    pytest.importorskip("pyarrow")
    frame = jl.datasets.load("bfi").iloc[:, :10].assign(sex=lambda f: np.where(np.arange(len(f)) % 3, "m", "f"))
    frame.to_parquet(tmp_path / "x.parquet", row_group_size=500)
    scanned = jl.Responses.scan(tmp_path / "x.parquet", group="sex")
    model = jl.IRT("graded", factors=np.kron(np.eye(2, dtype=int), np.ones((5, 1), int)))
    held, read = model._prepare(frame, "sex", None), model._prepare(scanned, None, None)
    assert read.coding == held.coding and read.notes == held.notes
    pd.testing.assert_frame_equal(read.table.to_frame(), held.table.to_frame(), rtol=1e-12)
    np.testing.assert_array_equal(read.data.codes, held.data.codes)
    for what in (model.fit, model.bind):
        with pytest.raises(ValueError, match=r"pandas\.read_parquet"):
            what(scanned)


def test_labels_may_be_texts_numbers_or_both():
    who, what = ["b", "b", "a", "c", "a", "c"], [2, 10, 2, 2, 10, 10]
    frame = pd.DataFrame({"who": who, "what": what, "answer": [0, 1, 1, 0, 0, 1.0]})
    texts, long = both(frame)
    assert texts.names == long.names == ("2", "10") and list(texts.index) == list(long.index) == ["a", "b", "c"]
    np.testing.assert_array_equal(texts.y, [[1, 0], [0, 1], [0, 1]])
    with pytest.raises(ValueError, match="'who' is missing in 1 row"):
        jl.Responses.from_long(frame.assign(who=["b", None, "a", "c", "a", "c"]), **NAMES)
    with pytest.raises(ValueError, match="'what' is missing in 1 row"):
        jl.Responses.from_long(frame.assign(what=[2, np.nan, 2, 2, 10, 10]), **NAMES)

"""Bad input: refused in one sentence that names the variable, row, option or file, or fitted with a warning."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from functools import cache
from typing import Any

import numpy as np
import pandas as pd
import polars as pl
import pytest

import jaxlatent as jl

ONE = "f =~ x1 + a*x2 + b*x3 + x4"
NAMES = [f"x{k}" for k in range(1, 10)]


@cache
def school() -> pd.DataFrame:
    return jl.datasets.load("holzinger_swineford")


def people(**columns: Any) -> pd.DataFrame:
    """The nine tests, with some columns replaced."""
    return school()[NAMES].assign(**columns)


def holes(name: str, rows: Any) -> pd.DataFrame:
    frame = people()
    frame.loc[rows, name] = np.nan
    return frame


def fit(text: str = ONE, data: Any = None, engine: Any = None, **options: Any) -> jl.Fit:
    return jl.SEM(text).fit(people() if data is None else data, engine, **options)


def moments(cov: Any = None, n: Any = 301, **options: Any) -> jl.Moments:
    return jl.Moments(people().cov() if cov is None else cov, n, **options)


def changed_cov(value: float, *, both: bool) -> pd.DataFrame:
    cov = people().cov()
    cov.loc["x1", "x2"] = value
    if both:
        cov.loc["x2", "x1"] = value
    return cov


def cell(name: str, row: int, value: Any) -> pd.DataFrame:
    frame = people().astype({name: object}) if isinstance(value, str) else people()
    frame.loc[row, name] = value
    return frame


def apart() -> pd.DataFrame:
    """x1 and x2 are never observed together."""
    return holes("x1", slice(0, 150)).assign(x2=people()["x2"].where(people().index < 151))


def grouped(values: Any) -> pd.DataFrame:
    return people(g=values)


Case = tuple[str, Callable[[], Any], list[str]]

DATA: list[Case] = [
    ("not in the data", lambda: fit(data=people().drop(columns="x3")), ["'x3'", "not in the data", "x1, x2, x4"]),
    ("text", lambda: fit(data=cell("x3", 6, "seven")), ["'x3'", "'seven'", "row 7", "recode"]),
    ("numbers as text", lambda: fit(data=people(x3=people()["x3"].astype(str))), ["'x3'", "row 1", "not a number"]),
    ("a category of words", lambda: fit(data=people(x3=pd.Categorical(school()["school"]))), ["'x3'", "'Pasteur'"]),
    ("dates", lambda: fit(data=people(x3=pd.date_range("2020", periods=301))), ["'x3'", "dates"]),
    ("durations", lambda: fit(data=people(x3=pd.to_timedelta(range(301), unit="D"))), ["'x3'", "time differences"]),
    ("complex numbers", lambda: fit(data=people(x3=1j)), ["'x3'", "1j", "row 1"]),
    ("lists", lambda: fit(data=people(x3=[[1]] * 301)), ["'x3'", "[1]", "row 1"]),
    ("huge whole numbers", lambda: fit(data=people(x3=[10**400 + k for k in range(301)])), ["'x3'", "too large"]),
    ("constant", lambda: fit(data=people(x3=2.5)), ["'x3'", "constant", "2.5"]),
    ("all missing", lambda: fit(data=people(x3=np.nan)), ["'x3'", "no values"]),
    ("every row missing", lambda: fit(data=people() * np.nan), ["Every row", "missing"]),
    ("infinite", lambda: fit(data=cell("x3", 3, np.inf)), ["'x3'", "infinite", "row 4"]),
    ("overflow", lambda: fit(data=cell("x3", 3, 1e300)), ["'x3'", "too large", "rescale"]),
    ("few rows", lambda: fit(data=people().head(4)), ["more rows than variables", "4 complete rows", "4 variables"]),
    ("few incomplete rows", lambda: fit(data=holes("x1", 0).head(4)), ["more rows than variables", "4 rows"]),
    ("no rows", lambda: fit(data=people().head(0)), ["at least 2 rows", "got 0"]),
    ("no rows, groups", lambda: fit(data=school().head(0), group="school"), ["no rows"]),
    ("one row", lambda: fit(data=people().head(1)), ["at least 2 rows", "got 1"]),
    ("nothing at all", lambda: fit(data=pd.DataFrame()), ["'x1'", "no columns"]),
    ("the same twice", lambda: fit(data=people(x3=people()["x2"] * 2 + 1)), ["'x2'", "'x3'", "same up to scale"]),
    ("the same, incomplete", lambda: fit(data=holes("x1", 0).assign(x3=people()["x2"])), ["'x2'", "'x3'", "same"]),
    ("a sum", lambda: fit(data=people(x4=people()["x1"] + people()["x2"])), ["x1, x2, x4", "not positive definite"]),
    ("two columns of one name", lambda: fit(data=pd.concat([people(), people()[["x1"]]], axis=1)),
     ["'x1'", "2 columns", "rename"]),
    ("never together", lambda: fit(data=apart()),
     ["'x1'", "'x2'", "never observed together"]),
    ("rarely observed", lambda: fit(data=holes("x1", slice(4, None))), ["'x1'", "4 rows only"]),
    ("no complete row", lambda: fit(data=apart(), missing="listwise"), ["No row is complete", "fiml"]),
    ("levels of columns", lambda: fit(data=pd.concat({"a": people()}, axis=1)), ["2 levels", "('a', 'x1')"]),
    ("columns with numbers for names", lambda: fit(data=people().set_axis(range(9), axis=1)), ["'x1'", "0, 1, 2"]),
    ("a covariance matrix as data", lambda: fit(data=people().cov()), ["covariance matrix", "jl.Moments"]),
    ("no data", lambda: jl.SEM(ONE).fit(None), ["Expected a pandas or polars frame", "None"]),
    ("a path", lambda: fit(data="data.csv"), ["'data.csv'", "read the file first"]),
    ("a number", lambda: fit(data=3), ["got int", "0 dimension"]),
    ("a vector", lambda: fit(data=np.zeros(9)), ["ndarray with 1 dimension"]),
    ("an array of another width", lambda: fit(data=people().to_numpy()), ["x1, x2, x3, x4", "got 9 columns"]),
    ("an array with groups", lambda: fit(data=np.zeros((9, 4)), group="g"), ["no column names", "'g'"]),
    ("ragged columns", lambda: fit(data={"x1": [1, 2], "x2": [1]}), ["'x1' has 2 rows", "'x2' has 1"]),
    ("scalars for columns", lambda: fit(data={"x1": 1}), ["'x1'", "got 1"]),
    ("columns out of step", lambda: fit(data={n: people()[n][:: -1 if n == "x3" else 1] for n in NAMES}),
     ["'x1'", "'x3'", "different row labels"]),
    ("a lazy frame", lambda: fit(data=pl.from_pandas(people()).lazy()), ["lazy", "collect()"]),
    ("polars text", lambda: fit(data=pl.from_pandas(people()).with_columns(x1=pl.lit("a"))), ["'x1'", "'a'", "row 1"]),
    ("polars nulls only", lambda: fit(data=pl.from_pandas(people()).with_columns(x1=pl.lit(None))),
     ["'x1'", "no values"]),
    ("a factor with a column's name", lambda: fit("x9 =~ x1 + x2 + x3 + x4"), ["'x9'", "latent", "column"]),
]  # fmt: skip

COLUMNS: list[Case] = [
    ("group missing", lambda: fit(data=grouped([None] + ["a", "b"] * 150), group="g"), ["'g'", "missing", "row 1"]),
    ("group not there", lambda: fit(group="zz"), ["group variable 'zz'", "not in the data"]),
    ("one group", lambda: fit(data=grouped("a"), group="g"), ["'g'", "one value only", "'a'"]),
    ("a small group", lambda: fit(data=grouped(["a"] * 297 + ["b"] * 4), group="g"), ["'b'", "4 complete rows"]),
    ("a group of one", lambda: fit(data=grouped(["a"] * 300 + ["b"]), group="g"), ["'b'", "at least 2 rows"]),
    ("a group for each row", lambda: fit(data=grouped(range(301)), group="g"), ["'g'", "301 different values"]),
    ("groups that read the same", lambda: fit(data=grouped([1, "1"] * 150 + [1]), group="g"), ["1 and '1'", "recode"]),
    ("a group in the model", lambda: fit(data=people(x1=people()["x1"].round()), group="x1"), ["'x1'", "of the model"]),
    ("a list for group", lambda: fit(group=["school"]), ["Expected group", "name of a column"]),
    ("weights of zero", lambda: fit(data=people(w=[0] + [1] * 300), weights="w"), ["'w'", "got 0", "row 1"]),
    ("negative weights", lambda: fit(data=people(w=[1, -2] + [1] * 299), weights="w"), ["'w'", "got -2", "row 2"]),
    ("missing weights", lambda: fit(data=people(w=[np.nan] + [1] * 300), weights="w"), ["'w'", "nan", "row 1"]),
    ("weights as an array", lambda: fit(weights=np.ones(301)), ["Expected weights", "ndarray"]),
    ("weights that are text", lambda: fit(data=people(w="a"), weights="w"), ["'w'", "not a number"]),
    ("weights and GLS", lambda: fit(data=people(w=1.0), engine="GLS", weights="w"), ["weights", "GLS", "robust_sem"]),
    ("one cluster", lambda: fit(data=people(c=1), cluster="c"), ["'c'", "one value only"]),
    ("a missing cluster", lambda: fit(data=people(c=[None] + [1, 2] * 150), cluster="c"), ["'c'", "missing", "row 1"]),
    ("clusters and GLS", lambda: fit(data=people(c=[1] + [1, 2] * 150), engine="GLS", cluster="c"), ["no clusters"]),
]  # fmt: skip

COVARIANCES: list[Case] = [
    ("not symmetric", lambda: moments(changed_cov(0.9, both=False)), ["not symmetric", "cov(x1, x2) = 0.9"]),
    ("not positive definite", lambda: moments(changed_cov(5.0, both=True)), ["not positive definite", "'x1' and 'x2'"]),
    ("not square", lambda: moments(np.ones((2, 3))), ["square", "(2, 3)"]),
    ("not finite", lambda: moments(changed_cov(np.nan, both=True)), ["'x1' and 'x2'", "nan"]),
    ("not numbers", lambda: moments("abc"), ["covariance matrix", "numbers", "'abc'"]),
    ("no names", lambda: moments(np.eye(2)), ["2 names", "None"]),
    ("a text for names", lambda: moments(np.eye(2), names="xy"), ["list of names", "'xy'"]),
    ("a name twice", lambda: moments(np.eye(2), names=["a", "a"]), ["'a' twice"]),
    ("n None", lambda: moments(n=None), ["n, the number of persons", "None"]),
    ("n a fraction", lambda: moments(n=30.5), ["whole number", "30.5"]),
    ("n infinite", lambda: moments(n=np.inf), ["whole number", "inf"]),
    ("few persons", lambda: fit(data=moments(n=4)), ["more persons than variables", "n = 4"]),
    ("missing means", lambda: moments(mean=[1.0] * 8 + [np.nan]), ["'x9'", "nan"]),
    ("means of others", lambda: moments(mean={"x1": 1.0}), ["mean for 'x2'"]),
    ("no means", lambda: fit(ONE + "\nx1 ~ 1", moments()), ["mean structure", "mean="]),
    ("variable not there", lambda: fit("f =~ x1 + x2 + zz", moments()), ["'zz'", "covariance matrix of x1"]),
    ("robust errors", lambda: fit(data=moments(), engine="MLR"), ["Moments", "pass the rows"]),
    ("groups", lambda: fit(data=moments(), group="school"), ["Moments", "groups"]),
    ("missing", lambda: fit(data=moments(), missing="fiml"), ["Moments", "'fiml'"]),
]  # fmt: skip

MODELS: list[Case] = [
    ("negative df", lambda: fit("f =~ x1 + x2"), ["4 free parameters", "f =~ x2", "3 sample moments", "-1"]),
    ("negative df of means", lambda: fit("f =~ x1 + x2 + x3\nf ~ 1\nx1 ~ 1"), ["10 free", "9 sample moments (means"]),
    ("nothing free", lambda: fit("x1 ~~ 1*x1"), ["no free parameters"]),
    ("no model", lambda: jl.SEM("# nothing"), ["Line 1", "empty"]),
    ("not a model", lambda: jl.SEM("f =~ x1 +"), ["Line 1, column 10", "expected a variable"]),
    ("unknown label", lambda: fit(ONE + "\na == zz"), ["'a == zz'", "'zz'", "there are: a, b"]),
    ("self-regression", lambda: fit(ONE + "\nx1 ~ x1"), ["Line 2", "'x1' can't be regressed on itself"]),
    ("self-measurement", lambda: fit("f =~ f + x1"), ["'f' can't be measured by itself"]),
    ("contradictory equalities", lambda: fit(ONE + "\na == 1\na == 2"), ["'a == 2'", "'a == 1'", "can't hold"]),
    ("contradictory inequalities", lambda: fit(ONE + "\na > 1\na < 0"), ["'a < 0'", "'a > 1'", "can't hold"]),
    ("an equality against an inequality", lambda: fit(ONE + "\na == 1\na > 2"), ["'a > 2'", "can't hold"]),
    ("a circle of inequalities", lambda: fit(ONE + "\na > b + 1\nb > a + 1"), ["'b > a+1'", "can't hold"]),
    ("two values", lambda: fit("f =~ 1*x1 + 2*x1 + x2"), ["Line 1", "two different values: 1 and 2"]),
    ("a constraint that is no number", lambda: fit(ONE + "\nlog(a - 5) == 1"), ["log(a-5) == 1", "start()"]),
    ("division by zero", lambda: fit(ONE + "\na/0 == 1"), ["a/0 == 1", "not a number"]),
    ("a negative variance", lambda: fit(ONE + "\nx1 ~~ -1*x1"), ["x1 ~~ x1", "fixed at -1", "above 0"]),
    ("a negative start", lambda: fit(ONE + "\nx1 ~~ start(-5)*x1"), ["x1 ~~ x1", "starts at -5"]),
    ("no variances", lambda: jl.SEM("f =~ 1*x1 + x2", auto=False).fit(people()), ["x1 ~~ x1", "x2 ~~ x2", "auto=True"]),
    ("two without error", lambda: fit(ONE + "\nx1 ~~ 0*x1\nx2 ~~ 0*x2"), ["not positive definite", "fixed values"]),
    ("levels", lambda: fit("level: 1\nf =~ x1 + x2 + x3\nlevel: 2\ng =~ x1 + x2 + x3"), ["two levels", "cluster="]),
    ("efa", lambda: fit('efa("block")*f + efa("block")*g =~ x1 + x2'), ["efa block 'block'", "more variables"]),
    ("a composite", lambda: fit("c <~ x1 + x2\nx3 ~ c"), ["'c' is a composite", "not in this version"]),
    ("an interaction", lambda: fit("x1 ~ x2 + x3 + x2:x3"), ["'x2:x3' is an interaction", "as a column"]),
    ("ordered", lambda: jl.SEM(ONE, ordered=["x1"]).fit(people()), ["'x1' is ordered", "not in this version"]),
    ("a block without groups", lambda: fit("group: 1\nf =~ x1 + x2\ngroup: 2\nf =~ x1 + x2"), ["'2'", "no group var"]),
]  # fmt: skip

OPTIONS: list[Case] = [
    ("std_lv", lambda: jl.SEM(ONE, std_lv="yes"), ["std_lv", "True or False", "'yes'"]),
    ("mean_structure", lambda: jl.SEM(ONE, mean_structure="no"), ["mean_structure", "'no'"]),
    ("auto", lambda: jl.SEM(ONE, auto=None), ["auto", "None"]),
    ("group_equal", lambda: jl.SEM(ONE, group_equal="loading"), ["group_equal", "'loading'", "loadings, intercepts"]),
    ("group_equal, a number", lambda: jl.SEM(ONE, group_equal=3), ["group_equal", "got 3"]),
    ("group_partial", lambda: jl.SEM(ONE, group_partial=[1]), ["group_partial", "[1]"]),
    ("ordered, a flag", lambda: jl.SEM(ONE, ordered=True), ["ordered", "True"]),
    ("ordered, unknown", lambda: jl.SEM(ONE, ordered=["zz"]).fit(people()), ["'zz'", "no variable"]),
    ("parameterization", lambda: jl.SEM(ONE, parameterization="x").fit(people()), ["'delta' or 'theta'", "'x'"]),
    ("rotation", lambda: jl.SEM(ONE, rotation="oblimin").table(), ["rotation", "exploratory blocks"]),
    ("engine", lambda: fit(engine=3), ["Expected engine", "got 3"]),
    ("engine's class", lambda: fit(engine=jl.ML), ["Expected engine"]),
    ("engine's name", lambda: fit(engine="MLQ"), ["MLR", "'MLQ'"]),
    ("estimator", lambda: jl.estimator(3), ["MLR", "got 3"]),
    ("se", lambda: jl.ML(se="best"), ["se", "robust_sem", "'best'"]),
    ("test", lambda: jl.ML(test="best"), ["test", "satorra_bentler", "'best'"]),
    ("information", lambda: jl.ML(information="best"), ["information", "'best'"]),
    ("likelihood", lambda: jl.ML(likelihood=None), ["likelihood", "normal, wishart", "None"]),
    ("penalty", lambda: jl.ML(penalty=1), ["Penalties", "not in this version"]),
    ("weight", lambda: jl.LeastSquares("best"), ["weight", "'best'"]),
    ("weight, none", lambda: jl.LeastSquares(None), ["weight", "None"]),
    ("weight, not finite", lambda: jl.LeastSquares(np.full((3, 3), np.nan)), ["weight", "missing or infinite"]),
    ("weight, not symmetric", lambda: jl.LeastSquares(np.arange(9.0).reshape(3, 3)), ["weight", "not symmetric"]),
    ("weight, negative", lambda: jl.LeastSquares(-np.eye(3)), ["weight", "negative eigenvalues"]),
    ("weight, of another size", lambda: fit(engine=jl.LeastSquares(np.eye(3))), ["10 sample moments", "(3, 3)"]),
    ("least squares, test", lambda: jl.LeastSquares("gls", test="yuan_bentler"), ["test", "'yuan_bentler'"]),
    ("least squares, se", lambda: jl.LeastSquares("gls", se="cluster"), ["se", "'cluster'"]),
    ("least squares, holes", lambda: fit(data=holes("x1", 0), engine="GLS"), ["GLS", "'x1'", "listwise"]),
    ("WLS of few rows", lambda: fit(data=people().head(10), engine="WLS"), ["WLS", "10 sample moments", "got 10"]),
    ("se cluster", lambda: fit(engine=jl.ML(se="cluster")), ["se='cluster'", "cluster="]),
    ("se two_stage", lambda: fit(engine=jl.ML(se="two_stage")), ["se='two_stage'", "missing='two_stage'"]),
    ("se of two stages", lambda: fit(data=holes("x1", 0), engine=jl.ML(se="robust"), missing="two_stage"),
     ["'robust'"]),
    ("MLM, holes", lambda: fit(data=holes("x1", 0), engine="MLM"), ["missing='fiml'", "robust_sem", "standard"]),
    ("Wishart, holes", lambda: fit(data=holes("x1", 0), engine=jl.ML(likelihood="wishart")), ["wishart", "listwise"]),
    ("no means, holes", lambda: jl.SEM(ONE, mean_structure=False).fit(holes("x1", 0)), ["mean structure", "listwise"]),
    ("missing", lambda: fit(missing="impute"), ["missing", "'fiml'", "'impute'"]),
    ("key", lambda: fit(key="a"), ["key", "'a'"]),
    ("progress", lambda: fit(progress="a"), ["progress", "'a'"]),
    ("checkpoint", lambda: fit(checkpoint="a"), ["Checkpoints"]),
    ("data set", lambda: jl.datasets.load("iris"), ["holzinger_swineford", "'iris'"]),
]  # fmt: skip

BATCHES: list[Case] = [
    ("not a model", lambda: jl.fit_batch(ONE, np.zeros((2, 9, 4))), ["Expected model"]),
    ("one frame", lambda: jl.fit_batch(jl.SEM(ONE), people()), ["several data sets", "one frame"]),
    ("none", lambda: jl.fit_batch(jl.SEM(ONE), []), ["no data sets"]),
    ("of different length", lambda: jl.fit_batch(jl.SEM(ONE), [people(), people().head(50)]), ["50 to 301 rows"]),
    ("of another shape", lambda: jl.fit_batch(jl.SEM(ONE), np.zeros((9, 4))), ["x1, x2, x3, x4", "(9, 4)"]),
    ("of text", lambda: jl.fit_batch(jl.SEM(ONE), np.full((2, 9, 4), "a")), ["array of numbers"]),
    ("with a constant", lambda: jl.fit_batch(jl.SEM(ONE), np.zeros((2, 9, 4))), ["'x1'", "constant", "data set 0"]),
    ("negative df", lambda: jl.fit_batch(jl.SEM("f =~ x1 + x2"), np.zeros((2, 9, 2))), ["4 free parameters"]),
]  # fmt: skip


def ids(cases: list[Case]) -> list[Any]:
    return [pytest.param(call, words, id=name) for name, call, words in cases]


def refused(call: Callable[[], Any], words: list[str]) -> None:
    """A ValueError of our own, in one sentence with these words, and no warning before it."""
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        with pytest.raises(ValueError) as caught:
            call()
    message = str(caught.value)
    assert type(caught.value) in (ValueError, jl.ModelSyntaxError)
    assert not [word for word in words if word not in message], message
    assert "jaxlatent" in str(caught.traceback[-1].path)


@pytest.mark.parametrize(("call", "words"), ids(DATA))
def test_data_that_are_refused(call: Callable[[], Any], words: list[str]) -> None:
    refused(call, words)


@pytest.mark.parametrize(("call", "words"), ids(COLUMNS))
def test_groups_weights_and_clusters_that_are_refused(call: Callable[[], Any], words: list[str]) -> None:
    refused(call, words)


@pytest.mark.parametrize(("call", "words"), ids(COVARIANCES))
def test_covariance_matrices_that_are_refused(call: Callable[[], Any], words: list[str]) -> None:
    refused(call, words)


@pytest.mark.parametrize(("call", "words"), ids(MODELS))
def test_models_that_are_refused(call: Callable[[], Any], words: list[str]) -> None:
    refused(call, words)


@pytest.mark.parametrize(("call", "words"), ids(OPTIONS))
def test_options_that_are_refused(call: Callable[[], Any], words: list[str]) -> None:
    refused(call, words)


@pytest.mark.parametrize(("call", "words"), ids(BATCHES))
def test_batches_that_are_refused(call: Callable[[], Any], words: list[str]) -> None:
    refused(call, words)


@pytest.mark.parametrize(
    ("text", "data", "words"),
    [
        pytest.param("f =~ NA*x1 + x2 + x3 + x4\nf ~~ NA*f", people, ["not identified", "f =~ x1"], id="scale"),
        pytest.param("f =~ x1 + x2 + x3 + x4\ng =~ f", people, ["not identified", "f ~~ f, g ~~ g"], id="second order"),
        pytest.param("f =~ x1 + a*x2 + x3 + x4\na > 2", people, ["'a > 2'", "active"], id="active inequality"),
        pytest.param("f =~ x1 + a*x2 + x3 + x4\na^2 == -1", people, ["contradict"], id="impossible equality"),
        pytest.param("f =~ x1 + a*x2 + x3 + x4\nq := a/0", people, ["'q'", "inf", "divides by zero"], id="definition"),
        pytest.param(ONE, lambda: people(x3=people()["x3"] * 1e4), ["'x3'", "differ by a factor"], id="scales"),
        pytest.param(
            "f =~ x1 + x2 + x3", lambda: heywood(), ["Heywood case", "'x1'", "negative"], id="Heywood"
        ),
        pytest.param(
            "f =~ x1 + x2 + x3\ng =~ x4 + x5 + x6", lambda: one_factor(), ["latent variables", "not positive definite"],
            id="latent covariances",
        ),
    ],
)  # fmt: skip
def test_fits_that_warn(text: str, data: Callable[[], Any], words: list[str]) -> None:
    with pytest.warns(jl.ModelWarning) as caught:
        found = fit(text, data())
    told = " ".join(str(w.message) for w in caught)
    shown = " ".join(str(found.summary()).split())
    for word in words:
        assert word in told
        assert word in " ".join(found.warnings)
        assert word in shown


def heywood() -> jl.Moments:
    """One factor for these correlations has a loading above 1: 0.7 * 0.7 / 0.4 > 1."""
    return jl.Moments([[1, 0.7, 0.7], [0.7, 1, 0.4], [0.7, 0.4, 1]], 500, names=["x1", "x2", "x3"])


def one_factor() -> jl.Moments:
    """Items of different factors correlate more than those of one factor."""
    cov = np.full((6, 6), 0.4) + 0.6 * np.eye(6)
    cov[:3, 3:] = cov[3:, :3] = 0.5
    return jl.Moments(cov, 500, names=NAMES[:6])


def test_standard_errors_that_are_not_there() -> None:
    with pytest.warns(jl.ModelWarning):
        found = fit("f =~ NA*x1 + x2 + x3 + x4\nf ~~ NA*f")
    free = found.parameters["free"] > 0
    assert found.parameters.loc[free, "se"].isna().all()
    assert "f =~ x1" in found.message
    with pytest.raises(ValueError, match="no covariance matrix of its estimates"):
        found.wald_test("a == 1")


def test_what_may_be_fitted_is_fitted() -> None:
    """Nullable, boolean, masked and polars columns with holes are numbers; named moments are matched by their names."""
    expected = fit(data=holes("x1", slice(0, 9))).log_likelihood
    nullable = holes("x1", slice(0, 9)).astype("Float64")
    masked = np.ma.masked_invalid(holes("x1", slice(0, 9))[NAMES[:4]].to_numpy())
    for data in (nullable, masked, pl.from_pandas(nullable), holes("x1", slice(0, 9)).to_dict("list")):
        assert fit(data=data).log_likelihood == pytest.approx(expected, abs=1e-9)
    cov, mean = people().cov(), people().mean()
    shuffled = jl.Moments(cov.iloc[::-1], 301, mean=mean[::-1])
    np.testing.assert_array_equal(shuffled.cov, cov)
    np.testing.assert_array_equal(shuffled.mean, mean)

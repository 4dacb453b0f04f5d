"""What item response models say about data, models and options that don't go together: one sentence, no number."""

from __future__ import annotations

import re
import warnings

import numpy as np
import numpyro.distributions as dist
import pandas as pd
import pytest

import jaxlatent as jl
from jaxlatent.irt import IRT

N = 120
NAMES = list("abcde")


def binary():
    rng = np.random.default_rng(0)
    x = rng.standard_normal(N)
    y = rng.random((N, 5)) < 1 / (1 + np.exp(-(1.2 * x[:, None] + np.linspace(-1, 1, 5))))
    return pd.DataFrame(y.astype(float), columns=NAMES)


def rated():
    rng = np.random.default_rng(1)
    x = rng.standard_normal((N, 1))
    return pd.DataFrame(np.clip(np.round(1.5 + x + rng.standard_normal((N, 5))), 0, 3), columns=NAMES)


def with_groups(y):
    return y.assign(g=np.where(np.arange(N) % 2, "v", "u"))


def edit(y, column, rows, value):
    y = y.copy()
    y[column] = y[column].astype(object)
    y.loc[rows, column] = value
    return y


def refuses(pattern, spec, data, **options):
    """One sentence that matches; nothing else happens."""
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        with pytest.raises(ValueError, match=pattern) as caught:
            (spec() if callable(spec) else spec).fit(data, **options)
    text = str(caught.value)
    assert text[0].isupper() or text[0] in "'" or text.startswith(("item_type", "rotation", "fixed"))
    assert len(text) < 420 and "Traceback" not in text


# ---- answers --------------------------------------------------------------------------------------------------------

ANSWERS = {
    "an item all answered alike": (lambda y: y.assign(b=1.0), "'b' is constant"),
    "an item nobody answered": (lambda y: y.assign(b=np.nan), "'b' has no values"),
    "not a whole number": (lambda y: edit(y, "c", 6, 0.5), "'c' has the response 0.5 in row 7, .* not a whole number"),
    "negative": (lambda y: edit(y, "c", 2, -1), "'c' has the response -1 in row 3, which is negative"),
    "a code for missing": (lambda y: edit(y, "c", 2, -99), "'c' has the response -99 in row 3"),
    "infinite": (lambda y: edit(y, "d", 4, np.inf), "'d' is infinite in row 5"),
    "text": (lambda y: edit(y, "a", 1, "yes"), "'a' holds 'yes' in row 2"),
    "numbers as text": (lambda y: y.astype(str), "'a' holds '.*' in row 1, which is not a number"),
    "dates": (lambda y: y.assign(e=pd.Timestamp("2020-01-01")), "'e' holds dates"),
    "a column twice": (lambda y: pd.concat([y, y[["a"]]], axis=1), "'a' is the name of 2 columns"),
    "nobody answered anything": (lambda y: y * np.nan, "[Ee]very row|has no values"),
    "too many categories for 2pl": (lambda y: edit(y, "d", 0, 2), "The item 'd': Expected 2 categories .*'2pl'; got 3"),
    "many values": (lambda y: y.assign(a=np.arange(N)), "'a' has 120 different values, too many for categories"),
    "few persons": (lambda y: y[:9], "at least 10 persons; got 9"),
    "no persons": (lambda y: y[:0], "persons; got 0|at least 2 rows|more persons than items; got 0"),
    "persons in columns": (lambda y: y.T.reset_index(drop=True), "5 rows and 120 columns: are persons in columns"),
    "an array with persons in columns": (lambda y: y.to_numpy().T, "5 rows and 120 columns"),
    "one item": (lambda y: y[["a"]], "2 parameters, .* only 1 proportions of patterns: it is not identified"),
    "two items": (lambda y: y[["a", "b"]], "4 parameters, .* only 3 proportions"),
    "no items": (lambda y: y[[]], "no columns"),
    "nothing": (lambda y: None, "got None"),
    "a path": (lambda y: "answers.csv", "read the file first"),
    "one column": (lambda y: y["a"].to_numpy(), "1 dimension"),
    "three dimensions": (lambda y: np.ones((20, 3, 4)), "3 dimension"),
    "moments": (lambda y: jl.Moments(np.eye(3), 100, names=list("abc")), "not their moments"),
}


@pytest.mark.parametrize("name", ANSWERS)
def test_answers_that_cannot_be(name):
    change, pattern = ANSWERS[name]
    refuses(pattern, jl.IRT("2pl"), change(binary()))


def coding_notes(spec, data, **options):
    """Notes and codes without fitting."""
    p = spec._prepare(data, options.get("group"), options.get("weights"))
    return " ".join(p.notes), p


def test_categories_that_start_elsewhere_or_have_gaps_are_recoded_and_said():
    y = rated()
    plain = coding_notes(jl.IRT("graded"), y)[1]
    for change, words in (
        (lambda y: y + 1, "start at 1 in 5 item"),
        (lambda y: y.replace({3: 7}), "nobody used .* in 5 item"),
        (lambda y: 2 * y + 3, "start at 3 in 5 item.*nobody used"),
        (lambda y: y.assign(b=y["b"] + 1), r"start at 1 in 1 item\(s\) \(b\)"),
    ):
        notes, p = coding_notes(jl.IRT("graded"), change(y))
        assert re.search(words, notes)
        np.testing.assert_array_equal(p.data.codes, plain.data.codes)
        assert p.table.n_parameters == plain.table.n_parameters
    assert plain.notes == ()
    notes, p = coding_notes(jl.IRT("graded"), y.assign(c=y["c"].replace({3: 2})))  # the highest: nothing to be seen
    assert p.table.n_parameters == plain.table.n_parameters - 1
    for kind in (bool, "category", "Int64"):
        assert np.array_equal(coding_notes(jl.IRT("2pl"), binary().astype(kind))[1].data.codes, binary())


def test_perfect_and_zero_scores_and_persons_without_answers():
    y = binary()
    y.iloc[0], y.iloc[1], y.iloc[2] = 0.0, 1.0, np.nan
    fit = jl.IRT("2pl").fit(y)
    assert any("1 row(s) with nothing observed were dropped (first: row 3)" in note for note in fit.notes)
    assert 2 not in fit.scores().index
    ml = fit.scores(method="ml", return_se=True)
    assert ml.loc[0, "F1"] == -np.inf and ml.loc[1, "F1"] == np.inf
    assert ml.loc[[0, 1], "F1_se"].isna().all() and np.isfinite(ml["F1"]).sum() > 50
    for method in ("eap", "map", "wle", "eapsum"):
        assert np.isfinite(fit.scores(method=method, return_se=True)).all(axis=None)
    new = fit.scores(pd.DataFrame([[np.nan] * 5, [1] * 5], columns=NAMES), return_se=True)  # new people: the prior
    np.testing.assert_allclose(new.iloc[0], [0, 1], atol=1e-6)
    with pytest.raises(ValueError, match="'c' has the value 2 in row 1, none of its categories"):
        fit.scores(pd.DataFrame([[0, 0, 2, 0, 0]], columns=NAMES))
    with pytest.raises(ValueError, match="'e' is not in the data"):
        fit.scores(y[NAMES[:4]])
    with pytest.raises(ValueError, match="method to be one of"):
        fit.scores(method="mle")


# ---- groups, weights, covariates ------------------------------------------------------------------------------------

PEOPLE = {
    "no such group": (binary, {"group": "g"}, "group variable 'g' is not in the data"),
    "one group": (lambda: binary().assign(g=1), {"group": "g"}, "one value only"),
    "a missing group": (lambda: edit(with_groups(binary()), "g", 5, None), {"group": "g"}, "missing in 1 row.*row 6"),
    "a group that never saw an item": (
        lambda: (lambda y: y.assign(a=y["a"].where(y["g"] == "u")))(with_groups(binary())),
        {"group": "g"},
        "'a' has no values in group 'v'",
    ),
    "a group that answered alike": (
        lambda: (lambda y: y.assign(a=y["a"].where(y["g"] == "u", 1.0)))(with_groups(binary())),
        {"group": "g"},
        "'a' is constant in group 'v'",
    ),
    "groups without a name": (lambda: with_groups(binary()), {}, "'g' holds 'u' in row 1"),
    "a group an item": (binary, {"group": "a", "factors": "F =~ a + b + c"}, "'a' is also a variable of the model"),
    "no such weights": (binary, {"weights": "w"}, "weights variable 'w' is not"),
    "negative weights": (lambda: binary().assign(w=-1.0), {"weights": "w"}, "positive numbers; got -1 in row 1"),
    "missing weights": (lambda: binary().assign(w=np.nan), {"weights": "w"}, "positive numbers; got nan"),
    "no such covariate": (binary, {"covariates": ["age"]}, "'age' is not in the data"),
    "a constant covariate": (lambda: binary().assign(age=3), {"covariates": ["age"]}, "'age' is constant"),
    "a text covariate": (lambda: binary().assign(age="old"), {"covariates": ["age"]}, "'age' holds 'old'"),
    "a missing covariate": (
        lambda: binary().assign(age=[np.nan, *range(N - 1)]),
        {"covariates": ["age"]},
        "'age' is missing or infinite in 1 row",
    ),
    "a covariate twice": (
        lambda: binary().assign(age=range(N)),
        {"covariates": ["age", "age"]},
        "'age' is given twice",
    ),
    "covariates that say the same": (
        lambda: binary().assign(age=range(N), born=[2000 - k for k in range(N)]),
        {"covariates": ["age", "born"]},
        "'born' is constant or a sum of the other covariates",
    ),
    "a covariate that is the group": (
        lambda: binary().assign(g=np.arange(N) % 2),
        {"covariates": ["g"], "group": "g"},
        "'g' is constant or a sum of the other covariates in group",
    ),
    "a covariate that is an item": (
        binary,
        {"covariates": ["a"], "factors": "F =~ a + b + c"},
        "'a' is an item and a covariate",
    ),
    "weights of an array": (lambda: binary().to_numpy(), {"weights": "w"}, "no column names"),
}


@pytest.mark.parametrize("name", PEOPLE)
def test_groups_weights_and_covariates_that_cannot_be(name):
    make, options, pattern = PEOPLE[name]
    own = {k: v for k, v in options.items() if k in ("group", "weights")}
    refuses(pattern, lambda: jl.IRT("2pl", **{k: v for k, v in options.items() if k not in own}), make(), **own)


def test_a_category_a_group_never_used():
    y = with_groups(rated())
    y.loc[(y["g"] == "u") & (y["a"] == 3), "a"] = 2
    refuses("in group 'u' gave the answer 3 to the item 'a'", jl.IRT("graded"), y, group="g")
    tied = jl.IRT("graded", group_equal=("loadings", "intercepts"))
    assert tied._prepare(y, "g", None).coding.n_categories == (4,) * 5


def test_responses_hold_their_own_groups_weights_and_covariates():
    y = with_groups(binary()).assign(w=1.0, age=np.arange(N))
    held = jl.Responses.from_frame(y, NAMES, group="g", weights="w", covariates=["age"])
    for option in ("group", "weights"):
        refuses("hold their groups and weights already", jl.IRT("2pl"), held, **{option: "g"})
    refuses("covariate 'height' is not in the data", jl.IRT("2pl", covariates=["height"]), held)
    refuses("item 'z' is not in the data", jl.IRT("2pl", "F =~ a + b + z"), held)
    kept = jl.IRT("2pl")._prepare(held, None, None)
    assert kept.data.covariates is None and kept.table.covariates == () and kept.table.n_groups == 2
    assert jl.IRT("2pl", covariates=["age"])._prepare(held, None, None).data.covariates.shape == (N, 1)


def test_long_data_that_cannot_be():
    y = pd.DataFrame({"who": [1, 1, 2, 2], "item": ["a", "b", "a", "a"], "answer": [1, 0, 1, 1]})
    names = {"person": "who", "item": "item", "response": "answer"}
    for data, own, pattern in (
        (y, names, "person 2 answered the item 'a' more than once"),
        (y, names | {"item": "task"}, "'task' is not in the data"),
        (y.assign(item=[None, "b", "a", "b"]), names, "item variable 'item' is missing in 1 row"),
        (y.assign(answer="yes"), names, "'answer' holds 'yes' in row 1"),
    ):
        with pytest.raises(ValueError, match=pattern):
            jl.Responses.from_long(data, **own)


# ---- factors --------------------------------------------------------------------------------------------------------

Q = np.array([[1, 0], [1, 0], [1, 1], [0, 1], [0, 1]])
FACTORS = {
    "no factor": (0, "from 1 to 4 factors for 5 items; got 0"),
    "as many as items": (5, "from 1 to 4 factors for 5 items; got 5"),
    "more than items": (7, "got 7"),
    "a truth value": (True, "a count, lavaan's syntax or a Q-matrix"),
    "a fraction": (1.5, "a count, lavaan's syntax or a Q-matrix"),
    "none": (None, "a count, lavaan's syntax or a Q-matrix"),
    "too few rows": (Q[:4], "Q-matrix with 5 rows, .*; got 4"),
    "one dimension": (np.ones(5), r"got shape \(5,\)"),
    "an empty row": (np.where(np.arange(5)[:, None] == 1, 0, Q), "item 'b' has an empty row"),
    "an empty column": (Q * [1, 0], "item 'd' has an empty row|factor 'F2' has an empty column"),
    "another column empty": (np.column_stack([np.ones(5), np.zeros(5)]), "factor 'F2' has an empty column"),
    "other values": (2 * Q, "zeros and ones"),
    "missing values": (np.where(Q == 1, np.nan, 0), "zeros and ones"),
    "as many columns as items": (np.eye(5), "fewer factors than items"),
    "unknown rows": (pd.DataFrame(Q, list("vwxyz")), "row 'v', which is no item"),
    "rows twice": (pd.DataFrame(Q, list("aabcd"), ["F", "G"]), "item 'a' is in the Q-matrix more than once"),
    "columns twice": (pd.DataFrame(Q, NAMES, ["F", "F"]), "factor 'F' is in the Q-matrix more than once"),
    "no syntax": ("", "model is empty"),
    "bad syntax": ("F ~= a", "expected"),
    "an unknown item": ("F =~ a + b + z", "'z' is not in the data"),
    "no items": ("F ~~ G", "at least one factor with items|F"),
    "items that covary": ("F =~ a + b + c + d\na ~~ b", "'a ~~ b' lets items covary"),
    "an item's variance": ("F =~ a + b + c\na ~~ a", "'a ~~ a' is about an item"),
    "an item's intercept": ("F =~ a + b + c\na ~ 0*1", "'a ~1 ' is about an item"),
    "an item regressed": ("F =~ a + b + c\na ~ d", "regresses an item|regresses on an item"),
    "a curve": ("F =~ p*a + q*b + c\np == q^2", "'p == q\\^2' is not a linear equality"),
    "an inequality": ("F =~ p*a + b + c\np > 0", "'p > 0' is not a linear equality"),
}


@pytest.mark.parametrize("name", FACTORS)
def test_factors_that_cannot_be(name):
    given, pattern = FACTORS[name]
    with pytest.raises(ValueError, match=pattern):
        jl.IRT("2pl", given).fit(binary())


def test_a_named_q_matrix_chooses_items_and_an_unnamed_one_takes_all():
    chosen = jl.IRT("2pl", pd.DataFrame(Q[:4], list("dbca"), ["F", "G"]))._prepare(binary(), None, None)
    assert chosen.table.observed == tuple("dbca") and chosen.table.factors == ("F", "G")
    plain = jl.IRT("2pl", pd.DataFrame(Q))._prepare(binary(), None, None)
    assert plain.table.observed == tuple("abcde")
    assert jl.IRT("2pl", np.int64(2)).factors == 2 and isinstance(jl.IRT("2pl", np.int64(2)).factors, int)


@pytest.mark.study
def test_unidentified_models_say_so():
    y = binary()
    spec = jl.IRT("2pl", "F =~ NA*a + b + c + d + e\nF ~~ NA*F")
    with pytest.warns(jl.ModelWarning, match="not identified|did not converge") as caught:
        fit = spec.fit(y)
    assert len(caught) == 1 and "not identified" in fit.message


def test_a_prior_identifies_what_the_data_do_not():
    y = binary()
    prior = jl.IRT("2pl", priors={"loadings": dist.LogNormal(0, 0.5)})
    assert prior._prepare(y[["a", "b"]], None, None).table.n_parameters == 4  # a prior identifies


# ---- options --------------------------------------------------------------------------------------------------------

OPTIONS = {
    "an unknown type": (lambda: IRT("2plx"), "Expected an item type among rasch.*got '2plx'"),
    "types in a list": (lambda: IRT(["2pl"]), "Expected an item type among"),
    "no type": (lambda: IRT(None), "Expected an item type among.*got None"),
    "a class": (lambda: IRT(dict), "Expected an item type among"),
    "an unknown type of an item": (lambda: IRT({"a": "nope"}), "got 'nope'"),
    "an item without a type": (lambda: IRT({"a": "2pl"}), "no entry for the item 'b'"),
    "a type without an item": (lambda: IRT(dict.fromkeys("abcdez", "2pl")), "names 'z', which is no item"),
    "latent": (lambda: IRT("2pl", latent=1), "Expected latent as jl.latent.Normal.*got 1"),
    "occasions": (lambda: IRT("2pl", occasions=1), "option occasions is not in this version"),
    "group_equal": (lambda: IRT("2pl", group_equal=("slopes",)), "names in group_equal among.*got 'slopes'"),
    "an unknown rotation": (lambda: IRT("2pl", 2, rotation="oblique"), "Expected a rotation out of .*'oblique'"),
    "a rotation of a confirmatory model": (lambda: IRT("2pl", "F =~ a + b", rotation="oblimin"), "exploratory"),
    "fixed: a list": (lambda: IRT("2pl", fixed=["loadings"]), "fixed as a mapping"),
    "fixed: an unknown name": (lambda: IRT("2pl", fixed={"slopes": 1}), "names in fixed among loadings.*'slopes'"),
    "fixed: another type's": (lambda: IRT("2pl", fixed={"guessing": 0.2}), "No item .* has the parameter 'guessing'"),
    "fixed: an unknown item": (lambda: IRT("2pl", fixed={"loadings": {"z": 1.0}}), "names 'z', which is no item"),
    "fixed: text": (lambda: IRT("2pl", fixed={"loadings": "1"}), "to be a number"),
    "fixed: nan": (lambda: IRT("2pl", fixed={"loadings": np.nan}), "to be a number"),
    "fixed: not a probability": (lambda: IRT("3pl", fixed={"guessing": 1.2}), "from 0 to 1; got 1.2"),
    "fixed: crossed": (lambda: IRT("4pl", fixed={"guessing": 0.6, "upper": 0.5}), "guessing below upper"),
    "fixed: a negative variance": (lambda: IRT("normal", fixed={"dispersion": -1.0}), "above 0; got -1"),
    "fixed: everything": (lambda: IRT("2pl", fixed={"loadings": 1, "intercepts": 0}), "no free parameter"),
    "priors: a list": (lambda: IRT("2pl", priors=["loadings"]), "priors as a mapping"),
    "priors: an unknown name": (lambda: IRT("2pl", priors={"slopes": dist.Normal(0, 1)}), "names in priors among"),
    "priors: another type's": (lambda: IRT("2pl", priors={"guessing": dist.Beta(1, 2)}), "names in priors among"),
    "priors: text": (lambda: IRT("2pl", priors={"loadings": "normal"}), r"normal\(mean, sd\) with 2 number"),
    "priors: no density": (
        lambda: IRT("2pl", priors={"intercepts": dist.LogNormal(0, 1)}),
        "prior of 'intercepts' has no density at the starting value -.* of 'a ~1 '",
    ),
    "constraints: text": (lambda: IRT("2pl", constraints="a == b"), r"pair \(A, b\)"),
    "constraints: a shape": (lambda: IRT("2pl", constraints=(np.ones((4, 1)), np.zeros(4))), "A with 5 rows"),
    "constraints: nan": (lambda: IRT("2pl", constraints=(np.full((5, 1), np.nan), np.zeros(5))), "finite numbers"),
    "constraints: contradiction": (
        lambda: IRT("2pl", constraints=(np.ones((5, 1)), np.zeros(5)), fixed={"loadings": {"a": 1.0, "b": 2.0}}),
        "contradict",
    ),
}


@pytest.mark.parametrize("name", OPTIONS)
def test_options_that_cannot_be(name):
    make, pattern = OPTIONS[name]
    refuses(pattern, make, binary())


def test_types_that_do_not_fit_their_items():
    y = rated()
    refuses("'a': Expected 2 categories for item type '3pl'; got 4", jl.IRT("3pl"), y)
    refuses("'[a-e]' of type 'grsm' depends on 2 factors", jl.IRT("grsm", 2), y)
    small = y.assign(c=y["c"].clip(0, 2))
    for kind in ("grsm", "rsm"):
        refuses(f"type '{kind}' share their spacing.* 4 of 'a' and 3 of 'c'", jl.IRT(kind), small)
    refuses("'a' has the response [0-3].5 in row 1, which is not a whole", jl.IRT("poisson"), y.assign(a=y["a"] + 0.5))
    refuses("'a' has the response -1 in row", jl.IRT("negative_binomial"), y.assign(a=y["a"] - 1))
    refuses("'a' is not positive in row", jl.IRT("lognormal"), y)


FITS = {
    "another engine": ({"engine": jl.ML()}, "Expected MarginalML"),
    "an engine's name": ({"engine": "MarginalML"}, "Expected MarginalML"),
    "an engine's class": ({"engine": jl.MarginalML}, "Expected MarginalML"),
    "cluster": ({"cluster": "a"}, "option cluster is not in this version"),
    "checkpoint": ({"checkpoint": "x"}, "MarginalML takes no checkpoint"),
    "missing": ({"missing": "pairwise"}, "missing to be None, 'fiml' or 'listwise'; got 'pairwise'"),
    "a negative key": ({"key": -1}, "key, the random key, .*; got -1"),
    "a fraction as a key": ({"key": 1.5}, "key, the random key, .*; got 1.5"),
    "no key": ({"key": None}, "key, the random key, .*; got None"),
}


@pytest.mark.parametrize("name", FITS)
def test_options_of_fit_that_cannot_be(name):
    options, pattern = FITS[name]
    refuses(pattern, jl.IRT("2pl"), binary(), **options)


ENGINES = {
    "rules need a number": (lambda: jl.GaussHermite(0), "at least 1 node; got n = 0"),
    "a fraction": (lambda: jl.GaussHermite(2.5), "n = 2.5"),
    "text": (lambda: jl.GaussHermite("21"), "n = '21'"),
    "a truth value": (lambda: jl.GaussHermite(True), "n = True"),
    "adaptive": (lambda: jl.AdaptiveGaussHermite(0), "at least 1 point; got n = 0"),
    "quasi": (lambda: jl.QuasiMonteCarlo(-3), "at least 1 point; got n = -3"),
    "importance": (lambda: jl.ImportanceSampling(None), "n = None"),
    "a proposal": (lambda: jl.ImportanceSampling(10, proposal="t"), "proposal=None"),
    "a number for a rule": (lambda: jl.MarginalML(21), "integration to be GaussHermite"),
    "a rule's class": (lambda: jl.MarginalML(jl.GaussHermite), "integration to be GaussHermite"),
    "errors": (lambda: jl.MarginalML(se="robust"), "se to be one of observed.*'robust'"),
    "a tolerance of zero": (lambda: jl.MarginalML(tolerance=0), "tolerance between 0 and 1; got 0"),
    "a tolerance in words": (lambda: jl.MarginalML(tolerance="small"), "tolerance between 0 and 1; got 'small'"),
    "starts": (lambda: jl.MarginalML(starts=0), "starts to be a whole number from 1"),
}


@pytest.mark.parametrize("name", ENGINES)
def test_options_of_engines_that_cannot_be(name):
    make, pattern = ENGINES[name]
    with pytest.raises(ValueError, match=pattern):
        make()


def test_stacks_that_cannot_be():
    model, y = jl.IRT("2pl"), binary().to_numpy()
    for given, pattern in (
        (y, "stack|data sets"),
        (binary(), "Expected several data sets"),
        ([y, y[:50]], "same number of rows"),
        ([y, np.full_like(y, np.nan)], "no two different answers in data set 2"),
        ([y, np.where(np.arange(5) == 1, 1.0, y)], "'item2' has no two different answers in data set 2"),
        (np.zeros((0, 10, 5)), "data set"),
    ):
        with pytest.raises(ValueError, match=pattern):
            jl.fit_batch(model, given)
    with pytest.raises(ValueError, match="without covariates"):
        jl.fit_batch(jl.IRT("2pl", covariates=["age"]), [y, y])
    with pytest.raises(ValueError, match="Expected MarginalML"):
        jl.fit_batch(model, [y, y], jl.ML())

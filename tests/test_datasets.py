import sys

import numpy as np
import pandas as pd
import pytest

from jaxlatent.data import datasets

SIZES = {
    "holzinger_swineford": (301, 15),
    "political_democracy": (75, 11),
    "bfi": (2800, 28),
    "lsat6": (1000, 5),
    "lsat7": (1000, 5),
    "digits": (1797, 64),
}
SHARED = {
    "holzinger_swineford": "HolzingerSwineford1939.csv",
    "political_democracy": "PoliticalDemocracy.csv",
    "bfi": "bfi.csv",
    "lsat6": "LSAT6.csv",
    "lsat7": "LSAT7.csv",
}


def test_names():
    assert datasets.names() == tuple(SIZES)


@pytest.mark.parametrize("name", SIZES)
def test_size_source_and_licence(name):
    frame = datasets.load(name)
    assert frame.shape == SIZES[name]
    assert frame.columns.is_unique
    assert frame.attrs["source"] and frame.attrs["licence"] and frame.attrs["title"]


@pytest.mark.parametrize("name", SHARED)
def test_same_cells_as_the_reference_data(name, shared):
    pd.testing.assert_frame_equal(datasets.load(name), pd.read_csv(shared / "data" / SHARED[name]))


def test_published_figures():
    """The mean of x1 and the two schools in lavaan's manual; the 2800 people and missing cells of psych's bfi."""
    hs = datasets.load("holzinger_swineford")
    assert hs["school"].value_counts().to_dict() == {"Pasteur": 156, "Grant-White": 145}
    assert hs["x1"].mean() == pytest.approx(4.936, abs=5e-4)
    bfi = datasets.load("bfi")
    assert list(bfi.columns[25:]) == ["gender", "education", "age"]
    answers = bfi.iloc[:, :25].to_numpy()
    assert set(answers[~np.isnan(answers)]) == {1, 2, 3, 4, 5, 6}
    assert int(bfi.isna().sum().sum()) == 731
    assert int(bfi.iloc[:, :25].notna().all(axis=1).sum()) == 2436


@pytest.mark.parametrize(
    ("name", "right"), [("lsat6", (924, 709, 553, 763, 870)), ("lsat7", (828, 658, 772, 606, 843))]
)
def test_lsat_right_answers(name, right):
    """How many of 1000 answered each item rightly (Bock & Lieberman, 1970)."""
    people, table = datasets.load(name), datasets.load(name, as_table=True)
    assert tuple(people.sum()) == right
    assert table["freq"].sum() == 1000
    assert list(table.columns) == [*people.columns, "freq"]
    counted = people.value_counts().rename("freq").reset_index().sort_values(list(people.columns), ignore_index=True)
    pd.testing.assert_frame_equal(counted, table, check_dtype=False)


def test_digits():
    grey, binary = datasets.load("digits"), datasets.load("digits", binary=True)
    assert (grey.min().min(), grey.max().max()) == (0, 16)
    np.testing.assert_array_equal(binary.to_numpy(), (grey.to_numpy() >= 8).astype(int))
    assert np.bincount(grey.attrs["label"]).tolist() == [178, 182, 177, 183, 181, 182, 181, 179, 174, 180]
    assert binary.attrs["label"] == grey.attrs["label"]
    assert binary.iloc[:1400].attrs["label"][:3] == [0, 1, 2]


def test_digits_without_scikit_learn(monkeypatch):
    monkeypatch.setitem(sys.modules, "sklearn.datasets", None)
    with pytest.raises(ImportError, match="pip install scikit-learn"):
        datasets.load("digits")


@pytest.mark.parametrize(
    ("arguments", "options", "words"),
    [
        (("holzinger",), {}, "holzinger_swineford, political_democracy, bfi, lsat6, lsat7, digits; got 'holzinger'"),
        (("bfi",), {"as_table": True}, "lsat6 or lsat7; got it with 'bfi'"),
        (("bfi",), {"binary": True}, "digits; got it with 'bfi'"),
    ],
)
def test_bad_input(arguments, options, words):
    with pytest.raises(ValueError, match=words):
        datasets.load(*arguments, **options)

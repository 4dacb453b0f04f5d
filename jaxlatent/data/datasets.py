"""Small real data sets, each with its source and its licence in ``frame.attrs``.

=====================  ============  ==========================================================================
name                   size          source, licence
=====================  ============  ==========================================================================
holzinger_swineford    301 x 15      Holzinger & Swineford (1939); R package lavaan, GPL (>= 2)
political_democracy    75 x 11       Bollen (1989); R package lavaan, GPL (>= 2)
bfi                    2800 x 28     Revelle, Wilt & Rosenthal (2010), SAPA; R package psych, GPL (>= 2)
lsat6                  1000 x 5      Bock & Lieberman (1970), Thissen (1982); R package psych, GPL (>= 2)
lsat7                  1000 x 5      Bock & Lieberman (1970); R package psych, GPL (>= 2)
digits                 1797 x 64     Alpaydin & Kaynak (1998), CC BY 4.0; scikit-learn, BSD-3-Clause
=====================  ============  ==========================================================================
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from importlib import resources
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["load", "names"]


@dataclass(frozen=True)
class _Entry:
    read: Callable[[], pd.DataFrame]
    title: str
    source: str
    licence: str


def _file(name: str) -> Callable[[], pd.DataFrame]:
    def read() -> pd.DataFrame:
        import pandas as pd

        compression: Literal["gzip"] | None = "gzip" if name.endswith(".gz") else None
        with (resources.files("jaxlatent.data") / "files" / name).open("rb") as stream:
            return pd.read_csv(stream, compression=compression)

    return read


def _digits() -> pd.DataFrame:
    try:
        from sklearn.datasets import load_digits
    except ImportError as error:
        raise ImportError(
            'The data set "digits" comes with scikit-learn, which is not installed: pip install scikit-learn'
        ) from error
    import pandas as pd

    bunch = load_digits()
    columns = [f"pixel_{row}_{column}" for row in range(8) for column in range(8)]
    frame = pd.DataFrame(bunch.data.astype("int64"), columns=columns)
    frame.attrs["label"] = bunch.target.tolist()
    return frame


_LAVAAN = "GPL (>= 2), that of the R package lavaan"
_PSYCH = "GPL (>= 2), that of the R package psych"

_ENTRIES = {
    "holzinger_swineford": _Entry(
        _file("holzinger_swineford.csv"),
        "Nine tests of mental ability (x1 to x9), 301 children of two schools",
        "Holzinger & Swineford (1939), A study in factor analysis; exported from the R package lavaan",
        _LAVAAN,
    ),
    "political_democracy": _Entry(
        _file("political_democracy.csv"),
        "Industrialization (x1 to x3) and political democracy (y1 to y8) of 75 developing countries",
        "Bollen (1989), Structural Equations with Latent Variables; exported from the R package lavaan",
        _LAVAAN,
    ),
    "bfi": _Entry(
        _file("bfi.csv.gz"),
        "25 personality items (1 to 6), gender, education and age of 2800 people, with missing values",
        "Revelle, Wilt & Rosenthal (2010), SAPA project; exported from the R package psych",
        _PSYCH,
    ),
    "lsat6": _Entry(
        _file("lsat6_patterns.csv"),
        "Law School Admission Test, section 6: five binary items, 1000 people",
        "Bock & Lieberman (1970), Thissen (1982); exported from the R package psych",
        _PSYCH,
    ),
    "lsat7": _Entry(
        _file("lsat7_patterns.csv"),
        "Law School Admission Test, section 7: five binary items, 1000 people",
        "Bock & Lieberman (1970); exported from the R package psych",
        _PSYCH,
    ),
    "digits": _Entry(
        _digits,
        "1797 handwritten digits, 8 x 8 pixels with values 0 to 16",
        "Alpaydin & Kaynak (1998), Optical Recognition of Handwritten Digits, UCI; loaded from scikit-learn",
        "CC BY 4.0 (UCI); BSD-3-Clause, that of scikit-learn",
    ),
}
_TABLES = ("lsat6", "lsat7")


def names() -> tuple[str, ...]:
    """Names that :func:`load` knows."""
    return tuple(_ENTRIES)


def load(name: str, *, as_table: bool = False, binary: bool = False) -> pd.DataFrame:
    """Load a data set.

    Parameters
    ----------
    name
        One of :func:`names`.
    as_table
        For ``lsat6`` and ``lsat7``: a row for each answer pattern and a column ``freq``, how many people gave it,
        instead of a row for each person.
    binary
        For ``digits``: 1 where a pixel is at least 8, else 0, instead of 0 to 16.

    Returns
    -------
    pandas.DataFrame
        A row for each person (country, image). ``attrs`` has ``title``, ``source`` and ``licence``;
        for ``digits`` also ``label``, the list of the 1797 digits.

    Raises
    ------
    ValueError
        For an unknown name, or an option the data set does not have.
    ImportError
        For ``digits`` without scikit-learn.
    """
    if name not in _ENTRIES:
        raise ValueError(f"Expected the name of a data set, one of {', '.join(names())}; got {name!r}.")
    if as_table and name not in _TABLES:
        raise ValueError(f"Expected as_table=True only with {' or '.join(_TABLES)}; got it with {name!r}.")
    if binary and name != "digits":
        raise ValueError(f"Expected binary=True only with digits; got it with {name!r}.")
    entry = _ENTRIES[name]
    frame = entry.read()
    attrs = {**frame.attrs, "title": entry.title, "source": entry.source, "licence": entry.licence}
    if name in _TABLES and not as_table:
        frame = _expand(frame)
    if binary:
        frame = (frame >= 8).astype("int64")
    frame.attrs = attrs
    return frame


def _expand(table: pd.DataFrame) -> pd.DataFrame:
    """A row for each person from a row for each pattern: 1000 x 5 from 30 x 6."""
    return table.loc[table.index.repeat(table["freq"])].drop(columns="freq").reset_index(drop=True)

"""The command line: ``jaxlatent demo | fit | score | simulate | report``.

Exit codes: 0 fine; 1 a problem with the data, the model or the fit, told in one sentence on stderr; 2 wrong usage;
130 interrupted. ``JAXLATENT_TRACEBACK=1`` shows the whole traceback of a problem.
"""

from __future__ import annotations

import argparse
import os
import sys
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import pandas as pd

    from jaxlatent.fit import Fit

__all__ = ["main"]

THREE_FACTORS = """\
visual  =~ x1 + x2 + x3
textual =~ x4 + x5 + x6
speed   =~ x7 + x8 + x9
"""
MISSING = ("listwise", "pairwise", "fiml", "two_stage", "robust_two_stage")
# problems of the input or the environment: their message is the sentence a user needs, and no more
EXPECTED = (ValueError, ArithmeticError, OSError, ImportError, NotImplementedError, RuntimeError)


class UsageError(ValueError):
    """An option that only the library can check is wrong."""


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line with ``argv`` (default: the arguments of the process) and return its exit code."""
    parser = _parser()
    try:
        arguments = parser.parse_args(argv)
    except SystemExit as stop:  # argparse: --help and --version end with 0, wrong usage with 2
        return int(stop.code or 0)
    try:
        with _plain_warnings():
            return int(arguments.run(arguments))
    except UsageError as error:
        print(f"{parser.prog} {arguments.command}: error: {error}", file=sys.stderr)
        return 2
    except BrokenPipeError:  # the reader of a pipe has left: nobody to tell
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    except KeyboardInterrupt:
        print("jaxlatent: interrupted", file=sys.stderr)
        return 130
    except Exception as error:
        if os.environ.get("JAXLATENT_TRACEBACK") == "1":
            raise
        print(f"jaxlatent: error: {_sentence(error)}", file=sys.stderr)
        return 1


def _demo(arguments: argparse.Namespace) -> int:
    folder = _folder(arguments.out)
    jl = _library(arguments)
    fit = jl.SEM(THREE_FACTORS).fit(jl.datasets.load("holzinger_swineford"))
    print(fit.summary())
    diagram, report = folder / "holzinger_swineford.svg", folder / "holzinger_swineford.html"
    fit.plot.path_diagram(path=diagram)
    fit.report(report)
    print(f"\nPath diagram: {diagram.resolve()}\nReport:       {report.resolve()}")
    return _verdict(fit)


def _fit(arguments: argparse.Namespace) -> int:
    text, frame = _model_text(arguments.model), _read(arguments.data)
    jl = _library(arguments)
    engine = _usage(jl.estimator, arguments.estimator) if arguments.estimator else None
    ordered = tuple(name for each in arguments.ordered for name in each.split(",") if name)
    folder = None if arguments.out is None else _folder(arguments.out)
    fit = jl.SEM(text, ordered=ordered).fit(frame, engine, group=arguments.group, missing=arguments.missing)
    print(fit.summary())
    if folder is not None:
        _write_fit(fit, folder)
    return _verdict(fit)


def _write_fit(fit: Fit, folder: Path) -> None:
    fit.save(folder / "fit.latent")
    fit.parameters.to_csv(folder / "parameters.csv", index=False)
    fit.fit_measures().rename_axis("measure").rename("value").to_csv(folder / "fit_measures.csv")
    fit.plot.path_diagram(path=folder / "diagram.svg")
    fit.report(folder / "report.html")
    print(f"\nWritten to {folder.resolve()}: fit.latent, parameters.csv, fit_measures.csv, diagram.svg, report.html")


def _score(arguments: argparse.Namespace) -> int:
    frame = _read(arguments.data)
    fit = _library(arguments).load(arguments.fit)
    scores = fit.scores(frame, method=arguments.method, return_se=arguments.se)
    _write_table(scores.rename_axis(index=scores.index.name or "person"), arguments.out, index=True)
    return 0


def _simulate(arguments: argparse.Namespace) -> int:
    fit = _library(arguments).load(arguments.fit)
    _write_table(fit.simulate(arguments.n, key=arguments.key), arguments.out, index=False)
    return 0


def _report(arguments: argparse.Namespace) -> int:
    fit = _library(arguments).load(arguments.fit)
    path = arguments.out or arguments.fit.with_suffix(".html")
    _folder(path.parent)
    if path.is_dir():
        raise IsADirectoryError(21, "Expected a file to write to, but this is a folder", str(path))
    fit.report(path)
    print(f"Report: {path.resolve()}")
    return 0


def _library(arguments: argparse.Namespace) -> Any:
    """Import jaxlatent, with JAX's persistent compilation cache unless the user opted out."""
    import jaxlatent

    if not (arguments.no_cache or os.environ.get("JAXLATENT_NO_CACHE") == "1"):
        jaxlatent.enable_compilation_cache()
    return jaxlatent


def _verdict(fit: Fit) -> int:
    if fit.converged:
        return 0
    print(f"jaxlatent: error: {fit.message}", file=sys.stderr)
    return 1


def _usage(call: Callable[[str], Any], argument: str) -> Any:
    try:
        return call(argument)
    except ValueError as error:
        raise UsageError(error) from error


def _sentence(error: Exception) -> str:
    if isinstance(error, OSError) and error.strerror and error.filename:
        return f"{error.strerror}: {error.filename}"
    text = " ".join(str(error).split())
    if isinstance(error, EXPECTED) and text:
        return text
    return f"unexpected {type(error).__name__}: {text} (JAXLATENT_TRACEBACK=1 shows where)"


@contextmanager
def _plain_warnings() -> Iterator[None]:
    """Show a warning as its sentence, without the line of code that gave it."""

    def show(message: Warning | str, *_: Any, **__: Any) -> None:
        print(f"jaxlatent: warning: {message}", file=sys.stderr)

    with warnings.catch_warnings():
        warnings.showwarning = show
        yield


def _model_text(model: str) -> str:
    """The text of MODEL: a file if there is one of that name, else itself if it has an operator of the syntax."""
    if "\n" not in model and Path(model).is_file():
        try:
            return Path(model).read_text(encoding="utf-8")
        except UnicodeDecodeError:
            raise ValueError(f"Expected MODEL {model!r} to be a text file in UTF-8; it holds other bytes.") from None
    if any(operator in model for operator in ("~", "|", ":=")):
        return model
    raise ValueError(f"Expected MODEL to be a file or a model in lavaan's syntax; there is no file {model!r}.")


def _read(path: Path) -> pd.DataFrame:
    import pandas as pd

    kind = path.name.lower().removesuffix(".gz")
    try:
        if kind.endswith((".csv", ".tsv")):
            return _read_text(path, "," if kind.endswith(".csv") else "\t")
        if kind.endswith(".parquet"):
            return pd.read_parquet(path)
    except ValueError as error:  # what pandas and pyarrow raise for damaged files
        raise ValueError(f"{path} could not be read as a table: {' '.join(str(error).split())}.") from None
    raise ValueError(f"Expected DATA to end in .csv, .tsv (.gz too) or .parquet; got {path.name!r}.")


def _read_text(path: Path, separator: str) -> pd.DataFrame:
    """A table with the column names as the file has them: pandas renames those that come twice."""
    import pandas as pd

    with warnings.catch_warnings():
        warnings.simplefilter("error", pd.errors.ParserWarning)
        try:
            frame = pd.read_csv(path, sep=separator, index_col=False)
        except pd.errors.ParserWarning:
            raise ValueError("its rows have more fields than its first line has names") from None
    header = pd.read_csv(path, sep=separator, header=None, nrows=1, dtype=str).iloc[0]
    frame.columns = [raw if isinstance(raw, str) else name for raw, name in zip(header, frame.columns, strict=True)]
    return frame


def _write_table(frame: pd.DataFrame, path: Path | None, *, index: bool) -> None:
    if path is None:
        frame.to_csv(sys.stdout, index=index)
        return
    _folder(path.parent)
    if path.is_dir():
        raise IsADirectoryError(21, "Expected a file to write to, but this is a folder", str(path))
    frame.to_csv(path, index=index)
    print(f"Written: {path.resolve()}")


def _folder(path: Path) -> Path:
    if path.exists() and not path.is_dir():
        raise NotADirectoryError(20, "Expected a folder to write to, but this is a file", str(path))
    path.mkdir(parents=True, exist_ok=True)
    return path


def _count(text: str) -> int:
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"expected a positive whole number; got {text!r}")
    return int(text)


def _seed(text: str) -> int:
    if not text.isdecimal():
        raise argparse.ArgumentTypeError(f"expected a whole number, 0 or more; got {text!r}")
    return int(text)


def _version() -> str:
    from importlib.metadata import PackageNotFoundError, version

    try:
        return version("jaxlatent")
    except PackageNotFoundError:
        return "(not installed)"


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="jaxlatent", description="Latent variable models in JAX: structural equation models from the command line."
    )
    parser.add_argument("--version", action="version", version=f"%(prog)s {_version()}")
    common = argparse.ArgumentParser(add_help=False)
    common.add_argument(
        "--no-cache",
        action="store_true",
        help="do not keep compiled programs between runs (also JAXLATENT_NO_CACHE=1)",
    )
    commands = parser.add_subparsers(dest="command", metavar="COMMAND", required=True)

    def command(name: str, run: Callable[[argparse.Namespace], int], text: str) -> argparse.ArgumentParser:
        added = commands.add_parser(name, parents=[common], help=text, description=text[0].upper() + text[1:] + ".")
        added.set_defaults(run=run)
        return added

    demo = command("demo", _demo, "fit the three-factor model to the Holzinger-Swineford data")
    demo.add_argument("--out", type=Path, default=Path(), metavar="DIR", help="folder of diagram and report")
    _add_fit(command("fit", _fit, "fit a model and print its summary"))

    score = command("score", _score, "print the factor scores of data under a saved fit, as CSV")
    _add_saved(score)
    score.add_argument("data", type=Path, metavar="DATA", help="a .csv, .tsv (.gz too) or .parquet file")
    score.add_argument("--method", help="regression, bartlett, eap, ... (default: that of the model)")
    score.add_argument("--se", action="store_true", help="add the standard errors")
    score.add_argument("--out", type=Path, metavar="FILE", help="write there instead of printing")

    simulate = command("simulate", _simulate, "print data simulated from a saved fit, as CSV")
    _add_saved(simulate)
    simulate.add_argument("n", type=_count, metavar="N", help="how many people")
    simulate.add_argument("--key", type=_seed, default=0, help="seed of the random numbers (default 0)")
    simulate.add_argument("--out", type=Path, metavar="FILE", help="write there instead of printing")

    report = command("report", _report, "write the HTML report of a saved fit")
    _add_saved(report)
    report.add_argument("--out", type=Path, metavar="FILE", help="default: FIT with the ending .html")
    return parser


def _add_fit(fit: argparse.ArgumentParser) -> None:
    fit.add_argument("model", metavar="MODEL", help="a file with lavaan's model syntax, or the text itself")
    fit.add_argument("data", type=Path, metavar="DATA", help="a .csv, .tsv (.gz too) or .parquet file")
    fit.add_argument("--group", metavar="COLUMN", help="fit the model in the groups of this column")
    fit.add_argument("--ordered", nargs="+", default=[], metavar="COLUMN", help="columns with ordered categories")
    fit.add_argument("--estimator", metavar="NAME", help="lavaan's name: ML, MLM, MLMV, MLR, GLS, WLS, ULS, DWLS, ...")
    fit.add_argument("--missing", choices=MISSING, help="what to do with missing values (default: fiml if it can)")
    fit.add_argument("--out", type=Path, metavar="DIR", help="write the fit, tables, diagram and report there")


def _add_saved(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("fit", type=Path, metavar="FIT", help="a .latent file, as `jaxlatent fit --out` writes it")


if __name__ == "__main__":
    sys.exit(main())

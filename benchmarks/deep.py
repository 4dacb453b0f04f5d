"""Deep latent factor models on real digits: ``python -m benchmarks.deep [--check] [--only ROW ...] [--seeds N]``.

Rows: iwae (test log-likelihood by 5000 samples of VAE and IWAE at k = 1, 5, 50, with one and two layers of latent
variables), simulated (k = 50 against k = 1 on 20,000 images drawn from a fitted decoder), flow (against the normal
prior), classifier (a linear one on 8 factors, pixels and principal components), generated (whether a classifier
recognises digits generated for a label), curves (simulations with known truth), density (a density of x with two
modes), two_level (persons in clusters), equal (linear decoders against the
exact optimum), speed (epochs a second; against PyTorch: benchmarks.peers_deep).
The split is fixed: 1400 images to train, 397 to test. --check: exit 1 where an aim is missed. --markdown FILE appends
the tables to a file.
"""

from __future__ import annotations

import argparse
import functools
import sys
import time
import warnings
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pandas as pd

import jaxlatent as jl
from benchmarks.harness import Options, header

TRAIN, SAMPLES, SIMULATED = 1400, 5000, 20_000
HIDDEN = (200, 200)
PARTICLES = (1, 5, 50)


class Line(NamedTuple):
    """One line of a table: what, the figures in words, and whether the aim is met (None: there is none)."""

    what: str
    figures: str
    ok: bool | None = None


def digits() -> tuple[pd.DataFrame, pd.DataFrame, np.ndarray, np.ndarray]:
    """Images to train and to test, thresholded, and their labels."""
    data = jl.datasets.load("digits", binary=True)
    label = np.array(data.attrs["label"])
    return data.iloc[:TRAIN], data.iloc[TRAIN:], label[:TRAIN], label[TRAIN:]


def paired(first: np.ndarray, second: np.ndarray) -> tuple[float, float]:
    """Mean of the differences of persons, and its standard error."""
    each = second - first
    return float(each.mean()), float(each.std(ddof=1) / np.sqrt(len(each)))


def iwae(seeds: int) -> Iterator[Line]:
    """VAE and IWAE on the same split."""
    _, test, _, _ = digits()
    for size in (8, (16, 8)):
        found: dict[int, list[np.ndarray]] = {k: [] for k in PARTICLES}
        for k in PARTICLES:
            for seed in range(seeds):
                fit = _fitted(seed, size=size, particles=k)
                found[k].append(fit.log_likelihoods(test, n_samples=SAMPLES).to_numpy())
            yield Line(f"size {size}, k = {k}", f"{_spread([each.mean() for each in found[k]])} a test image")
        gain, error = paired(np.mean(found[1], 0), np.mean(found[50], 0))
        yield Line(f"size {size}, k = 50 minus k = 1", f"{gain:.3f}, standard error {error:.3f}")


def simulated(seeds: int) -> Iterator[Line]:
    """Enough data that the bound, not the number of images, decides."""
    train, _, _, _ = digits()
    truth = jl.VAE(8, "bernoulli", hidden=HIDDEN).fit(train, jl.AmortizedVI(particles=5))
    data = truth.simulate(SIMULATED + 1000, key=1)
    rows, test = data.iloc[:SIMULATED], data.iloc[SIMULATED:]
    found = {}
    for k in (1, 50):
        fit = jl.VAE(8, "bernoulli", hidden=HIDDEN).fit(rows, jl.AmortizedVI(particles=k, max_epochs=60))
        found[k] = fit.log_likelihoods(test, n_samples=SAMPLES).to_numpy()
        yield Line(f"k = {k}", f"{found[k].mean():.3f} a test image")
    gain, error = paired(found[1], found[50])
    yield Line("k = 50 minus k = 1", f"{gain:.3f}, standard error {error:.3f}", gain > 2 * error)


def flow(seeds: int) -> Iterator[Line]:
    """A learned density of x against the normal one."""
    _, test, _, _ = digits()
    found: dict[str, list[np.ndarray]] = {}
    for name in ("normal", "flow"):
        fits = [_fitted(seed, flow=name == "flow") for seed in range(seeds)]
        found[name] = [fit.log_likelihoods(test, n_samples=SAMPLES).to_numpy() for fit in fits]
        yield Line(name, f"{_spread([each.mean() for each in found[name]])} a test image")
    gain, error = paired(np.mean(found["normal"], 0), np.mean(found["flow"], 0))
    yield Line("flow minus normal", f"{gain:.3f}, standard error {error:.3f}", gain > -2 * error)


@functools.cache
def _fitted(seed: int, *, size: int | tuple[int, ...] = 8, particles: int = 5, flow: bool = False) -> Any:
    """The model of the images to train, fitted once however many rows ask for it."""
    latent = jl.latent.Flow("spline") if flow else None
    model = jl.VAE(size, "bernoulli", hidden=HIDDEN, latent=latent)
    return model.fit(digits()[0], jl.AmortizedVI(particles=particles), key=seed)


def _spread(values: Sequence[float]) -> str:
    """Mean and standard deviation over seeds."""
    return f"{np.mean(values):.3f}" + (
        f" (sd {np.std(values, ddof=1):.3f} over {len(values)} seeds)" if len(values) > 1 else ""
    )


def classifier(seeds: int) -> Iterator[Line]:
    """Accuracy of a linear classifier on the test images, with few labels and many."""
    from sklearn.decomposition import PCA
    from sklearn.linear_model import LogisticRegressionCV
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    train, test, y, y_test = digits()
    parts = PCA(8).fit(train)
    fits = [_fitted(seed) for seed in range(seeds)]
    encoded = [(fit.transform(train).to_numpy(), fit.transform(test).to_numpy()) for fit in fits]
    inputs = {
        "8 factors": encoded,
        "64 pixels": [(train.to_numpy(), test.to_numpy())] * seeds,
        "8 principal components": [(parts.transform(train), parts.transform(test))] * seeds,
    }
    for count in (50, 100, 200, TRAIN):
        figures = []
        for name, each in inputs.items():
            runs = 1 if count == TRAIN and name != "8 factors" else seeds
            scores = []
            for seed, (x, x_test) in enumerate(each[:runs]):
                at = _balanced(y, count, seed)
                model = make_pipeline(StandardScaler(), LogisticRegressionCV(Cs=6, cv=3, max_iter=2000))
                with warnings.catch_warnings():
                    warnings.simplefilter("ignore", FutureWarning)  # scikit-learn's, about defaults to come
                    scores.append(model.fit(x[at], y[at]).score(x_test, y_test))
            figures.append(f"{name} {_spread(scores)}")
        yield Line(f"{count} labels", ", ".join(figures))


def generated(seeds: int) -> Iterator[Line]:
    """Digits generated for a label, between the factors of two real ones of that label."""
    from sklearn.svm import SVC

    train, test, y, y_test = digits()
    judge = SVC(C=5).fit(train, y)
    right = []
    for fit in (_fitted(seed) for seed in range(seeds)):
        images = [(fit.generate(train[y == label], 300, key=label) > 0.5).astype(int) for label in range(10)]
        right.append([(judge.predict(each) == label).mean() for label, each in enumerate(images)])
    found = np.mean(right, axis=1)
    yield Line("a classifier's accuracy on real test digits", f"{judge.score(test, y_test):.3f}")
    yield Line("its recognition of generated ones", f"{_spread(list(found))}, least of a label {np.min(right):.2f}",
               bool(found.mean() >= 0.9))  # fmt: skip


def curves(seeds: int) -> Iterator[Line]:
    """Simulations with known truth: log standard deviations that depend on x, and item curves that are not monotone."""
    rng, grid = np.random.default_rng(1), np.linspace(-2, 2, 41)
    x, slope, log_slope = rng.normal(size=3000), rng.uniform(0.7, 1.3, 10), rng.uniform(-0.4, 0.4, 10)
    y = slope * x[:, None] + np.exp(-0.5 + log_slope * x[:, None]) * rng.normal(size=(3000, 10))
    fit = jl.VAE(1, "normal", hidden=(32,), covariance="network").fit(y)
    away = np.log(fit.deviations(_turned(fit, x, grid))) - (-0.5 + log_slope * grid[:, None])
    error = float(np.sqrt((away**2).mean()))
    yield Line("log standard deviations, 10 columns", f"RMSE {error:.3f} on [-2, 2]", error < 0.1)

    def truth(at: np.ndarray) -> np.ndarray:
        eta = [1.5 * at] * 8 + [2 - 1.5 * (at - peak) ** 2 for peak in (-1, -0.5, 0.5, 1)]
        return 1 / (1 + np.exp(-np.column_stack(eta)))

    y = (rng.random((3000, 12)) < truth(x)).astype(int)
    errors = []
    for model in (jl.VAE(1, "bernoulli", hidden=(32,)), jl.VAE(1, "2pl", decoder="linear")):
        fit = model.fit(y)
        errors.append(float(np.sqrt(((fit.decode(_turned(fit, x, grid)) - truth(grid)) ** 2).mean())))
    yield Line("item curves, 4 of 12 not monotone", f"RMSE {errors[0]:.3f}, of the linear model {errors[1]:.3f}",
               errors[0] <= errors[1] / 2)  # fmt: skip


def density(seeds: int) -> Iterator[Line]:
    """A density of x with two modes, learned with 20 items: its distance from the truth, and whether it is one."""
    rng, n, sd, share, modes = np.random.default_rng(1), 20_000, 0.5, np.array([0.7, 0.3]), np.array([-0.65, 1.52])
    mean = share @ modes
    scale = np.sqrt(sd**2 + share @ (modes - mean) ** 2)  # what is learned has mean 0 and variance 1
    modes, sd = (modes - mean) / scale, sd / scale
    x = rng.choice(modes, n, p=share) + sd * rng.standard_normal(n)
    eta = x[:, None] * np.linspace(1.5, 3, 20) + np.linspace(-1.5, 1.5, 20)
    y = (rng.random((n, 20)) < 1 / (1 + np.exp(-eta))).astype(int)
    grid = np.linspace(-8, 8, 4001)
    truth = np.exp(-(((grid[:, None] - modes) / sd) ** 2) / 2) @ share / (sd * np.sqrt(2 * np.pi))
    for name, latent in (("flow", jl.latent.Flow("spline")), ("mixture", jl.latent.Mixture(2))):
        fit = jl.VAE(1, "2pl", decoder="linear", latent=latent).fit(y)
        found = fit.latent_density(_turned(fit, x, grid))
        away, mass = float(np.trapezoid(abs(found - truth), grid)), float(np.trapezoid(found, grid))
        ok = away <= 0.1 and abs(mass - 1) <= 1e-3
        yield Line(f"{name}, {n} rows", f"L1 distance {away:.3f}, integral {mass:.4f}", ok)


def two_level(seeds: int) -> Iterator[Line]:
    """Factors of persons and of clusters: the share of the factor's variance that is between clusters."""
    share, n = 0.3, 1000
    syntax = "level: 1\nf =~ y1 + a*y2 + b*y3 + c*y4\nlevel: 2\ng =~ y1 + a*y2 + b*y3 + c*y4"
    found: dict[str, list[float]] = {"normal, SEM": [], "binary, IRT": []}
    for seed in range(seeds):
        rng = np.random.default_rng(seed)
        code = np.repeat(np.arange(n), rng.choice((5, 10, 20), n))
        x = np.sqrt(share) * rng.standard_normal(n)[code] + np.sqrt(1 - share) * rng.standard_normal(len(code))
        y = x[:, None] * [1.0, 0.8, 0.7, 0.6] + 0.8 * rng.standard_normal((len(code), 4))
        y += 0.3 * rng.standard_normal((n, 4))[code]
        frame = pd.DataFrame(y, columns=["y1", "y2", "y3", "y4"]).assign(cluster=code)
        p = jl.SEM(syntax).fit(frame, cluster="cluster").parameters.set_index(["lhs", "op", "rhs"])["est"]
        between = p["g", "~~", "g"]
        found["normal, SEM"].append(between / (between + p["f", "~~", "f"]))
        eta = x[:, None] * np.linspace(1, 2, 10) + np.linspace(-1, 1, 10)
        items = pd.DataFrame((rng.random(eta.shape) < 1 / (1 + np.exp(-eta))).astype(int)).add_prefix("i")
        fit: Any = jl.IRT("2pl").fit(items.assign(cluster=code), jl.MarginalML(se="none"), cluster="cluster")
        found["binary, IRT"].append(float(fit.intraclass_correlations()["est"].iloc[0]))
    for name, values in found.items():
        ok = abs(float(np.mean(values)) - share) < 0.03
        yield Line(f"{name}, {n} clusters", f"intraclass correlation {_spread(values)}, truth {share}", ok)


def _turned(fit: Any, x: np.ndarray, grid: np.ndarray) -> np.ndarray:
    """The grid [row, 1] with the sign that the fit's latent variable has."""
    return (np.sign(np.corrcoef(fit.scores()["F1"], x)[0, 1]) * grid)[:, None]


def equal(seeds: int) -> Iterator[Line]:
    """Linear decoders against the exact optimum."""
    from scipy.linalg import subspace_angles
    from sklearn.decomposition import PCA, FactorAnalysis

    hs = jl.datasets.load("holzinger_swineford").filter(regex="^x")
    exact = FactorAnalysis(3, tol=1e-12, max_iter=20_000, svd_method="lapack").fit(hs).score(hs)
    for polish in (True, False):
        own = jl.VAE(3, "normal", decoder="linear").fit(hs, jl.AmortizedVI(polish=polish)).log_likelihood / len(hs)
        name = "linear normal VAE" + ("" if polish else ", training only")
        yield Line(name, f"{own - exact:+.2e} a person from the maximum", abs(own - exact) < 1e-3)
    lsat = jl.datasets.load("lsat7")
    gap = jl.VAE(1, "2pl", decoder="linear").fit(lsat).log_likelihood - jl.IRT("2pl").fit(lsat).log_likelihood
    yield Line("2pl decoder", f"{gap / len(lsat):+.2e} a person from MarginalML", abs(gap) / len(lsat) < 0.01)
    grey = jl.datasets.load("digits")
    loadings = jl.AutoEncoder(4, hidden=()).fit(grey).loadings.to_numpy()
    angle = float(subspace_angles(loadings, PCA(4).fit(grey).components_.T).max())
    yield Line("linear autoencoder", f"{angle:.1e} rad from the span of principal components", angle < 1e-3)


def speed(seeds: int) -> Iterator[Line]:
    """Epochs a second of training at batch 100, without compiling: the second of two runs with more epochs."""
    train, _, _, _ = digits()
    for k, epochs in ((1, 90), (50, 12)):
        seconds = []
        for more in (epochs, 3 * epochs):
            engine = jl.AmortizedVI(particles=k, batch_size=100, max_epochs=more)
            model = jl.VAE(8, "bernoulli", hidden=HIDDEN)
            model.fit(train, engine)
            started = time.perf_counter()
            fit = model.fit(train, engine)
            seconds.append((time.perf_counter() - started, fit.n_iterations))
        (short, few), (long, many) = seconds
        rate = (many - few) / (long - short) if many > few else few / short
        yield Line(f"k = {k}", f"{rate:.1f} epochs a second")


def _balanced(y: np.ndarray, count: int, seed: int) -> np.ndarray:
    """Rows with as many of each label as there can be."""
    if count >= len(y):
        return np.arange(len(y))
    rng = np.random.default_rng(seed)
    return np.concatenate([rng.permutation(np.flatnonzero(y == label))[: count // 10] for label in range(10)])


ROWS: dict[str, Callable[[int], Iterator[Line]]] = {
    "equal": equal, "curves": curves, "density": density, "two_level": two_level, "iwae": iwae,
    "simulated": simulated, "flow": flow, "classifier": classifier,
    "generated": generated, "speed": speed,
}  # fmt: skip


def table(name: str, lines: Sequence[Line]) -> str:
    """Lines as Markdown."""
    verdict = {None: "", True: "met", False: "MISSED"}
    body = [f"| {line.what} | {line.figures} | {verdict[line.ok]} |" for line in lines]
    return "\n".join([f"**{name}**", "", "| | | aim |", "|---|---|---|", *body, ""])


def measured(name: str, seeds: int) -> str:
    """By which command, when, and with what."""
    about = header(Options())
    command = f"`python -m benchmarks.deep --check --seeds {seeds} --only {name}`"
    return f"{command}, {about['date']}. {about['versions']}; {about['machine']}."


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the rows; 1 where --check finds an aim missed."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--check", action="store_true")
    parser.add_argument("--only", nargs="+", choices=list(ROWS), default=list(ROWS))
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--markdown", type=Path)
    given: Any = parser.parse_args(arguments)
    missed = False
    for name in given.only:
        lines = []
        for line in ROWS[name](given.seeds):
            print(f"{name}: {line.what}: {line.figures}{'' if line.ok is not False else '  MISSED'}", flush=True)
            lines.append(line)
            missed |= line.ok is False
        if given.markdown:
            with given.markdown.open("a", encoding="utf-8") as file:
                file.write(f"{table(name, lines)}\n{measured(name, given.seeds)}\n\n")
    return int(missed and given.check)


if __name__ == "__main__":
    sys.exit(main())

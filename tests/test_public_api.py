"""What users import: every public name is documented and typed, and the contract is added to, never changed."""

from __future__ import annotations

import inspect
import subprocess
import sys
from pathlib import Path

import pytest

import jaxlatent as jl

NAMES = [name for name in jl.__all__ if not name.startswith("__")]
REQUIRED = {
    "SEM", "ML", "LeastSquares", "estimator", "Fit", "load", "compare", "fit_batch", "simulate", "datasets",
    "Responses", "Moments", "enable_compilation_cache",
}  # fmt: skip
ESTIMATORS = "ML MLM MLMV MLMVS MLF MLR GLS WLS ULS DWLS DLS WLSM WLSMV ULSMV".split()
REQUIRED_ARGUMENT = inspect.Parameter.empty

# the contract: positional arguments, then those by keyword, with their defaults
SIGNATURES = {
    "SEM": (
        {"syntax": REQUIRED_ARGUMENT},
        {
            "std_lv": False, "orthogonal": False, "effect_coding": False, "mean_structure": None, "fixed_x": True,
            "growth": False, "auto": True, "group_equal": (), "group_partial": (), "ordered": (),
            "parameterization": "delta", "rotation": None, "items": None, "latent": None, "priors": None,
        },
    ),
    "SEM.fit": (
        {"data": REQUIRED_ARGUMENT, "engine": None},
        {
            "group": None, "missing": None, "weights": None, "cluster": None, "key": 0, "progress": None,
            "checkpoint": None,
        },
    ),
    "EFA": ({"n_factors": REQUIRED_ARGUMENT}, {"rotation": "oblimin", "extraction": "ml"}),
    "EFA.fit": (
        {"data": REQUIRED_ARGUMENT, "engine": None},
        {
            "group": None, "missing": None, "weights": None, "cluster": None, "key": 0, "progress": None,
            "checkpoint": None,
        },
    ),
    "VAE": (
        {"latent_size": REQUIRED_ARGUMENT, "likelihood": REQUIRED_ARGUMENT},
        {"hidden": (128, 128), "encoder": None, "decoder": None, "covariance": "diagonal", "latent": None},
    ),
    "VAE.fit": (
        {"data": REQUIRED_ARGUMENT, "engine": None},
        {
            "group": None, "missing": None, "weights": None, "cluster": None, "key": 0, "progress": None,
            "checkpoint": None,
        },
    ),
    "AutoEncoder": ({"latent_size": REQUIRED_ARGUMENT}, {"hidden": (128, 128)}),
    "AutoEncoder.fit": (
        {"data": REQUIRED_ARGUMENT, "engine": None},
        {
            "group": None, "missing": None, "weights": None, "cluster": None, "key": 0, "progress": None,
            "checkpoint": None,
        },
    ),
    "FactorTransformer": ({"model": REQUIRED_ARGUMENT, "engine": None}, {}),
    "DeepFit.transform": ({"data": REQUIRED_ARGUMENT}, {}),
    "DeepFit.reconstruct": ({"data": REQUIRED_ARGUMENT}, {}),
    "SEM.parameter_table": ({"data": None}, {}),
    "SEM.bind": ({"data": REQUIRED_ARGUMENT}, {}),
    "ML": ({}, {"information": None, "se": None, "test": None, "likelihood": "normal", "penalty": None}),
    "LeastSquares": ({"weight": REQUIRED_ARGUMENT}, {"se": None, "test": None}),
    "NUTS": ({}, {"num_warmup": 500, "num_samples": 1000, "num_chains": 4}),
    "PosteriorFit.scores": ({"data": None, "method": None, "return_se": False}, {}),
    "Moments": ({"cov": REQUIRED_ARGUMENT, "n": REQUIRED_ARGUMENT}, {"mean": None, "names": REQUIRED_ARGUMENT}),
    "Fit.scores": ({"data": None, "method": None, "return_se": False}, {}),
    "Fit.log_likelihoods": ({"data": None}, {}),
    "Fit.bootstrap": ({"n": REQUIRED_ARGUMENT, "key": REQUIRED_ARGUMENT}, {}),
    "Fit.simulate": ({"n": REQUIRED_ARGUMENT, "key": REQUIRED_ARGUMENT}, {}),
    "datasets.load": ({"name": REQUIRED_ARGUMENT}, {"as_table": False, "binary": False}),
}  # fmt: skip
FIT_MEMBERS = """
    parameters loadings intercepts factor_cov factor_means residual_cov regressions thresholds fit_measures scores
    log_likelihood log_likelihoods standardized residuals modification_indices score_tests wald_test r_squared implied
    vcov reliability bootstrap simulate plot summary report save converged message n_iterations elapsed engine
""".split()


def find(dotted):
    value = jl
    for part in dotted.split("."):
        value = getattr(value, part)
    return value


def public_methods(cls):
    for name in dir(cls):
        value = inspect.getattr_static(cls, name)
        function = value.fget if isinstance(value, property) else getattr(value, "__func__", value)
        ours = inspect.isfunction(function) and function.__module__.startswith("jaxlatent")
        if ours and not name.startswith("_"):
            yield name, function


def functions(name):
    """(Where, function) for all that a user of this name can call."""
    value = getattr(jl, name)
    if inspect.ismodule(value):
        return [(f"{name}.{each}", getattr(value, each)) for each in value.__all__]
    if inspect.isclass(value):
        return [(f"{name}.{each}", function) for each, function in public_methods(value)]
    return [(name, value)]


def test_the_list_is_complete_sorted_out_and_true():
    assert set(jl.__all__) >= REQUIRED
    assert len(set(jl.__all__)) == len(jl.__all__)
    missing = [name for name in jl.__all__ if not hasattr(jl, name)]
    assert not missing


@pytest.mark.parametrize("name", NAMES)
def test_documented(name):
    value = getattr(jl, name)
    assert inspect.getdoc(value), f"jl.{name} has no docstring"
    if inspect.isclass(value):
        assert not value.__doc__.startswith(f"{value.__name__}("), f"jl.{name} has only the docstring dataclass made"
    undocumented = [where for where, function in functions(name) if not inspect.getdoc(function)]
    assert not undocumented, undocumented


@pytest.mark.parametrize("name", NAMES)
def test_typed(name):
    untyped = []
    for where, function in functions(name):
        if not inspect.isfunction(function):
            continue
        signature = inspect.signature(function)
        parameters = [each for each in signature.parameters.values() if each.name not in ("self", "cls")]
        untyped += [f"{where}({each.name})" for each in parameters if each.annotation is inspect.Parameter.empty]
        untyped += [f"{where} -> ?"] if signature.return_annotation is inspect.Signature.empty else []
    assert not untyped, untyped


@pytest.mark.parametrize("where", SIGNATURES)
def test_the_contract_is_added_to_never_changed(where):
    positional, keyword = SIGNATURES[where]
    parameters = dict(inspect.signature(find(where)).parameters)
    parameters.pop("self", None)
    takes_position = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)
    first = [each.name for each in parameters.values() if each.kind in takes_position]
    assert first[: len(positional)] == list(positional)
    for name, default in (positional | keyword).items():
        assert name in parameters, f"{where} has no {name}"
        if default is not REQUIRED_ARGUMENT:  # a default where the contract has none changes no script
            assert parameters[name].default == default, f"{where}: default of {name}"
    added = [each for name, each in parameters.items() if name not in positional | keyword]
    variadic = (inspect.Parameter.VAR_KEYWORD, inspect.Parameter.VAR_POSITIONAL)
    needed = [each.name for each in added if each.default is inspect.Parameter.empty and each.kind not in variadic]
    assert not needed, f"{where}: an added argument without a default breaks scripts: {needed}"


@pytest.mark.parametrize("name", FIT_MEMBERS)
def test_fit_has_its_members(name):
    annotated = {each for cls in jl.Fit.__mro__ for each in getattr(cls, "__annotations__", {})}
    assert hasattr(jl.Fit, name) or name in annotated


@pytest.mark.parametrize("name", ESTIMATORS)
def test_estimator_knows_lavaans_short_names(name):
    assert type(jl.estimator(name)).__name__ in ("ML", "LeastSquares")


def test_estimator_refuses_other_names():
    with pytest.raises(ValueError, match="MLX"):
        jl.estimator("MLX")


def test_py_typed_is_there():
    assert (Path(jl.__file__).parent / "py.typed").exists()


def test_import_is_lean_and_leaves_jax_as_it_was():
    """Nothing is imported that only some functions need, and no global setting of JAX changes."""
    program = """if True:
        import sys, jax
        before = jax.config.jax_enable_x64, jax.config.jax_compilation_cache_dir
        import jaxlatent
        assert before == (jax.config.jax_enable_x64, jax.config.jax_compilation_cache_dir), "a setting of JAX changed"
        jaxlatent.SEM  # the structural equation models alone need neither NumPyro nor item responses
        others = {"numpyro", "optax", "flax", "scipy.special", "jaxlatent.inference.marginal_fit"} & set(sys.modules)
        assert not others, others
        import jaxlatent.diagnostics.datatree, jaxlatent.calibrate, jaxlatent.approximate, jaxlatent.compare
        lazy = {"matplotlib", "xarray", "arviz_base", "arviz_stats", "arviz_plots", "polars", "sklearn"}
        heavy = lazy & set(sys.modules)
        assert not heavy, heavy
    """
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr

"""jaxlatent: latent variable models in JAX, from structural equation models to item response theory and deep factors.

import jaxlatent as jl
fit = jl.SEM("visual =~ x1 + x2 + x3").fit(jl.datasets.load("holzinger_swineford"))
print(fit.summary())
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"

if TYPE_CHECKING:
    from jaxlatent import guides, latent
    from jaxlatent.approximate import approximate_posterior, log_evidence
    from jaxlatent.autoencoder import AutoEncoder, AutoEncoderFit
    from jaxlatent.batch import fit_batch
    from jaxlatent.cache import enable_compilation_cache
    from jaxlatent.calibrate import calibrate
    from jaxlatent.clustered_fit import ClusteredItemFit
    from jaxlatent.compare import compare
    from jaxlatent.data import datasets
    from jaxlatent.data.moments import Moments
    from jaxlatent.data.responses import Responses
    from jaxlatent.dimension import choose_dimension
    from jaxlatent.efa import EFA
    from jaxlatent.efa_fit import ExploratoryFit
    from jaxlatent.efa_variational import VariationalFit
    from jaxlatent.factor_mixture import MixtureFit, MixtureOfFactorAnalyzers
    from jaxlatent.factor_number import bartlett_sphericity, kmo, number_of_factors, parallel_analysis
    from jaxlatent.fit import Fit
    from jaxlatent.inference.estimate import Estimate
    from jaxlatent.inference.exploratory_settings import EM
    from jaxlatent.inference.importance_weighted_elbo import ImportanceWeightedELBO
    from jaxlatent.inference.nuts_settings import NUTS
    from jaxlatent.inference.settings import ML, LeastSquares, MarginalML, estimator
    from jaxlatent.inference.variational_settings import VariationalBayes
    from jaxlatent.integration.adaptive import AdaptiveGaussHermite, ImportanceSampling, Laplace, QuasiMonteCarlo
    from jaxlatent.integration.gauss_hermite import GaussHermite
    from jaxlatent.irt import IRT
    from jaxlatent.irt_fit import ItemResponseFit
    from jaxlatent.measurement.decoders import Decoder
    from jaxlatent.models.prior_distributions import horseshoe, spike_and_slab
    from jaxlatent.pair import Pair, numpyro_guide, numpyro_model, numpyro_pair, observe, sample_parameters
    from jaxlatent.posterior_fit import PosteriorFit
    from jaxlatent.prior_draws import PriorPredictive, prior_predictive
    from jaxlatent.sem import SEM, ModelWarning
    from jaxlatent.simulate import simulate
    from jaxlatent.spec.tokens import ModelSyntaxError
    from jaxlatent.spec.two_tier import bifactor
    from jaxlatent.storage import load
    from jaxlatent.transformer import FactorTransformer
    from jaxlatent.two_level_fit import TwoLevelFit
    from jaxlatent.vae import VAE
    from jaxlatent.vae_fit import DeepFit

_MODULES = {"datasets": "data.datasets", "guides": "guides", "latent": "latent"}
_WHERE = {
    "SEM": "sem",
    "ModelWarning": "sem",
    "fit_batch": "batch",
    "Fit": "fit",
    "compare": "compare",
    "approximate_posterior": "approximate",
    "log_evidence": "approximate",
    "calibrate": "calibrate",
    "load": "storage",
    "simulate": "simulate",
    "Pair": "pair",
    "PriorPredictive": "prior_draws",
    "prior_predictive": "prior_draws",
    "horseshoe": "models.prior_distributions",
    "spike_and_slab": "models.prior_distributions",
    "numpyro_guide": "pair",
    "numpyro_model": "pair",
    "numpyro_pair": "pair",
    "observe": "pair",
    "sample_parameters": "pair",
    "ImportanceWeightedELBO": "inference.importance_weighted_elbo",
    "EFA": "efa",
    "ExploratoryFit": "efa_fit",
    "VariationalFit": "efa_variational",
    "MixtureFit": "factor_mixture",
    "MixtureOfFactorAnalyzers": "factor_mixture",
    "EM": "inference.exploratory_settings",
    "VariationalBayes": "inference.variational_settings",
    "kmo": "factor_number",
    "bartlett_sphericity": "factor_number",
    "parallel_analysis": "factor_number",
    "number_of_factors": "factor_number",
    "IRT": "irt",
    "AutoEncoder": "autoencoder",
    "AutoEncoderFit": "autoencoder",
    "FactorTransformer": "transformer",
    "TwoLevelFit": "two_level_fit",
    "VAE": "vae",
    "DeepFit": "vae_fit",
    "Decoder": "measurement.decoders",
    "ClusteredItemFit": "clustered_fit",
    "ItemResponseFit": "irt_fit",
    "MarginalML": "inference.settings",
    "GaussHermite": "integration.gauss_hermite",
    "AdaptiveGaussHermite": "integration.adaptive",
    "ImportanceSampling": "integration.adaptive",
    "Laplace": "integration.adaptive",
    "QuasiMonteCarlo": "integration.adaptive",
    "ML": "inference.settings",
    "NUTS": "inference.nuts_settings",
    "PosteriorFit": "posterior_fit",
    "AmortizedVI": "inference.amortized_settings",
    "LeastSquares": "inference.settings",
    "estimator": "inference.settings",
    "Estimate": "inference.estimate",
    "Moments": "data.moments",
    "Responses": "data.responses",
    "ModelSyntaxError": "spec.tokens",
    "bifactor": "spec.two_tier",
    "choose_dimension": "dimension",
    "enable_compilation_cache": "cache",
}


__all__ = [
    "EFA",
    "EM",
    "IRT",
    "ML",
    "NUTS",
    "SEM",
    "VAE",
    "AdaptiveGaussHermite",
    "AmortizedVI",
    "AutoEncoder",
    "AutoEncoderFit",
    "ClusteredItemFit",
    "Decoder",
    "DeepFit",
    "Estimate",
    "ExploratoryFit",
    "FactorTransformer",
    "Fit",
    "GaussHermite",
    "ImportanceSampling",
    "ImportanceWeightedELBO",
    "ItemResponseFit",
    "Laplace",
    "LeastSquares",
    "MarginalML",
    "MixtureFit",
    "MixtureOfFactorAnalyzers",
    "ModelSyntaxError",
    "ModelWarning",
    "Moments",
    "Pair",
    "PosteriorFit",
    "PriorPredictive",
    "QuasiMonteCarlo",
    "Responses",
    "TwoLevelFit",
    "VariationalBayes",
    "VariationalFit",
    "approximate_posterior",
    "bartlett_sphericity",
    "bifactor",
    "calibrate",
    "choose_dimension",
    "compare",
    "datasets",
    "enable_compilation_cache",
    "estimator",
    "fit_batch",
    "guides",
    "horseshoe",
    "kmo",
    "latent",
    "load",
    "log_evidence",
    "number_of_factors",
    "numpyro_guide",
    "numpyro_model",
    "numpyro_pair",
    "observe",
    "parallel_analysis",
    "prior_predictive",
    "sample_parameters",
    "simulate",
    "spike_and_slab",
]


def __getattr__(name: str) -> Any:
    """Import a public name when it is first used, so that importing jaxlatent costs nothing."""
    if name in _MODULES:
        value: Any = import_module(f"jaxlatent.{_MODULES[name]}")
    elif name in _WHERE:
        value = getattr(import_module(f"jaxlatent.{_WHERE[name]}"), name)
    else:
        raise AttributeError(f"module 'jaxlatent' has no attribute {name!r}")
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})

"""Models and guides as NumPyro functions, for inference of one's own."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any, Literal

import jax
import numpy as np

from jaxlatent.data.arrays import Arrays
from jaxlatent.guides.amortized import Amortized
from jaxlatent.guides.function import guide_of
from jaxlatent.guides.numpyro_guide import guide_function
from jaxlatent.models.blocks import parameter_blocks
from jaxlatent.models.default_priors import bijection_under, block_prior
from jaxlatent.models.numpyro_model import Sites, parameter_sites, person_sites
from jaxlatent.spec.item_table import ItemTable
from jaxlatent.spec.restrictions_matrix import split

if TYPE_CHECKING:
    from jaxlatent.bound import BoundModel

Function = Callable[..., None]
Parameters = Literal["param", "sample"]


@dataclass(frozen=True)
class Pair:
    """A NumPyro model and a guide of one signature: (arrays, persons=None, size=None)."""

    model: Function
    guide: Function


def numpyro_model(bound: BoundModel, parameters: Parameters = "param", *, batch_size: int | None = None) -> Function:
    """A bound model as a NumPyro function model(arrays, persons=None, size=None).

    Sites: ``<name>_free``, the free cells of each matrix, as numpyro.param (starting values of the layout) or
    numpyro.sample (proper priors, the user's where there are any), with the same constraint; ``<name>``, deterministic,
    the matrices; in the plate ``person``, with weights as its scale, ``latent`` [person, D] and the observed
    ``responses`` [person, item]. The largest loading of each factor whose direction nothing else fixes is positive.

    A mini-batch: pass its rows with persons (their positions) and size (number of all persons); or give batch_size here
    and the plate draws that many.

    Raises
    ------
    ValueError
        Linear or other constraints between parameters, or patterns of covariances, that no bijection covers.
    """
    return _model_function(_sites(bound, parameters), _origin(bound) if parameters == "sample" else None, batch_size)


def _model_function(sites: Sites, origin: np.ndarray | None, batch_size: int | None) -> Function:
    _check_batch_size(batch_size)

    def model(arrays: Arrays, persons: jax.Array | None = None, size: int | None = None) -> None:
        params = parameter_sites(sites, arrays.y.dtype)
        person_sites(sites.model, params, arrays, persons, size, batch_size, origin)

    return model


def numpyro_guide(
    bound: BoundModel, guide: Any = None, parameters: Parameters = "param", *, batch_size: int | None = None
) -> Function:
    """A guide for the site ``latent`` of ``numpyro_model``: guide(arrays, persons=None, size=None).

    guide: one of jl.guides, ``Amortized()`` by default, or a function (y, observed, covariates) -> distribution with
    batch shape [person] and event shape [D]. Its parameters are the numpyro.param ``guide``. With parameters="sample"
    each ``<name>_free`` has a point mass.

    Raises ValueError where the guide gives another shape.
    """
    return _guide_function(bound, guide, _sites(bound, parameters), batch_size)


def _guide_function(bound: BoundModel, guide: Any, sites: Sites, batch_size: int | None) -> Function:
    _check_batch_size(batch_size)
    chosen = guide_of(Amortized() if guide is None else guide).bind(bound.model, bound.arrays)
    return guide_function(chosen, sites, batch_size)


def numpyro_pair(
    bound: BoundModel, guide: Any = None, parameters: Parameters = "param", *, batch_size: int | None = None
) -> Pair:
    """``numpyro_model`` and ``numpyro_guide`` of one bound model, for SVI with any ELBO."""
    sites = _sites(bound, parameters)
    return Pair(_model_function(sites, None, batch_size), _guide_function(bound, guide, sites, batch_size))


def sample_parameters(bound: BoundModel) -> dict[str, Any]:
    """Inside a NumPyro model of one's own: sample every ``<name>_free``; the matrices [group, ...] by name.

    Change or replace matrices as you like and pass them to ``observe``.
    """
    with jax.ensure_compile_time_eval():  # priors and their origins are constants, also while samplers trace the model
        sites = _sites(bound, "sample")
    return parameter_sites(sites, bound.arrays.y.dtype)


def observe(bound: BoundModel, params: dict[str, Any], arrays: Arrays) -> None:
    """Inside a NumPyro model of one's own: the sites ``latent`` and ``responses`` at these matrices [group, ...]."""
    with jax.ensure_compile_time_eval():
        origin = _origin(bound)
    person_sites(bound.model, params, arrays, origin=origin)


def _sites(bound: BoundModel, parameters: Parameters) -> Sites:
    if parameters not in ("param", "sample"):
        raise ValueError(f"Expected parameters to be 'param' or 'sample'; got {parameters!r}.")
    _check_constraints(bound)
    model, written = bound.model, bound.priors.cells
    blocks = parameter_blocks(model)
    bijections = tuple(bijection_under(block, model.layout, written)[1] for block in blocks)
    if parameters == "sample":
        priors = tuple(block_prior(block, model, bound.arrays, written) for block in blocks)
        return Sites(model, blocks, bijections, priors)
    return Sites(model, blocks, bijections, (), partial(bound.priors.log_prob, model.layout) if written else None)


def _origin(bound: BoundModel) -> np.ndarray:
    """Factor scores [person, D] at the starting values."""
    guide = Amortized().bind(bound.model, bound.arrays)
    return np.asarray(guide.encoding(bound.arrays) @ guide.weights)


def _check_constraints(bound: BoundModel) -> None:
    table = bound.table
    if table is None:  # a deep model
        return
    if isinstance(table, ItemTable):
        found = table.linear.rank
    else:
        linear, nonlinear, inequalities = split(table)
        found = linear.rank + len(nonlinear) + len(inequalities)
    if found:
        raise ValueError(
            f"The model has {found} constraint(s) between parameters, which no bijection covers: give equal parameters"
            " one label instead, or use an engine such as ML or MarginalML."
        )


def _check_batch_size(batch_size: int | None) -> None:
    if batch_size is not None and (not isinstance(batch_size, int | np.integer) or batch_size < 1):
        raise ValueError(f"Expected batch_size as a whole number from 1; got {batch_size!r}.")

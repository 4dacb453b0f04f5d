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
from jaxlatent.guides.default import default_guide
from jaxlatent.guides.function import guide_of
from jaxlatent.guides.numpyro_guide import guide_function
from jaxlatent.inference.bayes import check_covered
from jaxlatent.inference.proper import check_proper
from jaxlatent.models.blocks import parameter_blocks
from jaxlatent.models.default_priors import bijection_under, block_prior
from jaxlatent.models.numpyro_model import Sites, parameter_sites, person_sites
from jaxlatent.models.restricted import restricted_cells, restriction_of
from jaxlatent.spec.item_table import ItemTable

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

    Linear constraints of an item response model are kept by the matrices of numpyro.param.

    Raises
    ------
    ValueError
        Other constraints between parameters, any with parameters="sample", or patterns of covariances, that no
        bijection covers.
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

    guide: one of jl.guides, ``Amortized()`` by default (``Recurrent()`` with occasions), or a function (y, observed,
    covariates) -> distribution with batch shape [person] and event shape [D]. Its parameters are the numpyro.param
    ``guide``. With parameters="sample" each ``<name>_free`` has a point mass.

    Raises ValueError where the guide gives another shape.
    """
    return _guide_function(bound, guide, _sites(bound, parameters), batch_size)


def _guide_function(bound: BoundModel, guide: Any, sites: Sites, batch_size: int | None) -> Function:
    _check_batch_size(batch_size)
    chosen = guide_of(default_guide(bound.model.n_occasions) if guide is None else guide).bind(
        bound.model, bound.arrays
    )
    return guide_function(chosen, sites, batch_size)


def numpyro_pair(
    bound: BoundModel, guide: Any = None, parameters: Parameters = "param", *, batch_size: int | None = None
) -> Pair:
    """``numpyro_model`` and ``numpyro_guide`` of one bound model, for SVI with any ELBO."""
    sites = _sites(bound, parameters)
    return Pair(_model_function(sites, None, batch_size), _guide_function(bound, guide, sites, batch_size))


def sample_parameters(bound: BoundModel) -> dict[str, Any]:
    """Inside a NumPyro model of one's own: sample every ``<name>_free``; the matrices by name.

    Where there are groups, matrices are [group, ...]; with one group they have no group axis, like the deterministic
    sites. Change or replace matrices as you like and pass them to ``observe``.
    """
    with jax.ensure_compile_time_eval():  # priors and their origins are constants, also while samplers trace the model
        sites = _sites(bound, "sample")
    params = parameter_sites(sites, bound.arrays.y.dtype)
    layout = bound.model.layout
    if layout.n_groups > 1:
        return params
    return {name: value[0] if name in layout.fixed else value for name, value in params.items()}


def observe(bound: BoundModel, params: dict[str, Any], arrays: Arrays) -> None:
    """Inside a NumPyro model of one's own: the sites ``latent`` and ``responses`` at these matrices.

    Matrices are those of ``sample_parameters``; a group axis of length one may be there or not.
    """
    fixed = bound.model.layout.fixed
    whole = {
        name: value[None] if name in fixed and np.ndim(value) < np.ndim(fixed[name]) else value
        for name, value in params.items()
    }
    with jax.ensure_compile_time_eval():
        origin = _origin(bound)
    person_sites(bound.model, whole, arrays, origin=origin)


def _sites(bound: BoundModel, parameters: Parameters) -> Sites:
    if parameters not in ("param", "sample"):
        raise ValueError(f"Expected parameters to be 'param' or 'sample'; got {parameters!r}.")
    items = isinstance(bound.table, ItemTable) and parameters == "param"
    linear = bound.table.linear if items and bound.table.linear.rank else None
    if linear is None:
        check_constraints(bound)
    model, written = bound.model, bound.priors.cells
    blocks = parameter_blocks(model, () if linear is None else set(restricted_cells(linear).tolist()))
    if parameters == "sample" and written:
        check_proper(bound)
    bijections = tuple(bijection_under(block, model.layout, written)[1] for block in blocks)
    if parameters == "sample":
        priors = tuple(block_prior(block, model, bound.arrays, written) for block in blocks)
        return Sites(model, blocks, bijections, priors)
    log_prior = partial(bound.priors.log_prob, model.layout) if written else None
    restriction = None if linear is None else restriction_of(linear, blocks, bijections)
    return Sites(model, blocks, bijections, (), log_prior, restriction)


def _origin(bound: BoundModel) -> np.ndarray:
    """Factor scores [person, D] at the starting values."""
    guide = Amortized().bind(bound.model, bound.arrays)
    return np.asarray(guide.encoding(bound.arrays) @ guide.weights)


def check_constraints(bound: BoundModel) -> None:
    """Refuse constraints between parameters, which no bijection covers."""
    if bound.table is not None:  # else a deep model
        check_covered(bound.table)


def _check_batch_size(batch_size: int | None) -> None:
    if batch_size is not None and (not isinstance(batch_size, int | np.integer) or batch_size < 1):
        raise ValueError(f"Expected batch_size as a whole number from 1; got {batch_size!r}.")

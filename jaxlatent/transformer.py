"""A face as a scikit-learn estimator, for pipelines and searches."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from typing import Self


class FactorTransformer:
    """Factor scores of a model as scikit-learn transforms them: fit, transform, inverse_transform, get_params.

    model: any face, such as VAE(8, "bernoulli"), EFA(3) or IRT("2pl"). engine: that of its fit, None for the default.
    fit_: the model's Fit. scikit-learn itself is not needed unless its pipelines are used.
    """

    def __init__(self, model: Any, engine: Any = None) -> None:
        self.model = model
        self.engine = engine

    def __repr__(self) -> str:
        engine = "" if self.engine is None else f", {self.engine!r}"
        return f"FactorTransformer({self.model!r}{engine})"

    def get_params(self, deep: bool = True) -> dict[str, Any]:
        """model and engine."""
        return {"model": self.model, "engine": self.engine}

    def set_params(self, **params: Any) -> Self:
        """Change model or engine; raises ValueError for another name."""
        for name, value in params.items():
            if name not in ("model", "engine"):
                raise ValueError(f"Expected the parameters model and engine; got {name!r}.")
            setattr(self, name, value)
        return self

    def fit(self, X: Any, y: Any = None) -> Self:
        """Fit the model to rows X; y is ignored."""
        self.fit_ = self.model.fit(X, self.engine)
        return self

    def transform(self, X: Any) -> Any:
        """Scores of rows: a frame for a frame, an array for an array."""
        return self._fitted().transform(X)

    def fit_transform(self, X: Any, y: Any = None) -> Any:
        """fit, then transform."""
        return self.fit(X, y).transform(X)

    def inverse_transform(self, X: Any) -> Any:
        """E(y | x) at scores; raises ValueError for models that decode nothing."""
        fit = self._fitted()
        if not hasattr(fit, "decode"):
            raise ValueError(f"{type(self.model).__name__} has no inverse_transform: use VAE or AutoEncoder.")
        return fit.decode(X)

    def score(self, X: Any, y: Any = None) -> float:
        """Mean log-likelihood of rows; minus the mean squared error for an AutoEncoder."""
        fit = self._fitted()
        if hasattr(fit, "log_likelihoods"):
            return float(np.mean(fit.log_likelihoods(X)))
        return -float(np.mean(fit.squared_errors(X)))

    def get_feature_names_out(self, input_features: Any = None) -> np.ndarray:
        """Names of the factors."""
        fit = self._fitted()
        return np.asarray(list(fit.scores().columns), dtype=object)

    def __sklearn_is_fitted__(self) -> bool:
        return hasattr(self, "fit_")

    def __sklearn_tags__(self) -> Any:
        from sklearn.utils import InputTags, Tags, TargetTags, TransformerTags

        return Tags("transformer", TargetTags(required=False), TransformerTags(), input_tags=InputTags(allow_nan=True))

    def __sklearn_clone__(self) -> FactorTransformer:
        return FactorTransformer(self.model, self.engine)  # faces don't change when they are fitted

    def _fitted(self) -> Any:
        if not hasattr(self, "fit_"):
            raise ValueError("This FactorTransformer is not fitted yet: call fit(X) first.")
        return self.fit_

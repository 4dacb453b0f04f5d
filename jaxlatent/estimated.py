"""What every fit says about how its optimiser ended."""

from __future__ import annotations

from typing import Any

from jaxlatent.inference.estimate import MESSAGES


class Estimated:
    """The part of a fit that is about its estimation; subclasses bring their warnings."""

    _fitted: Any  # with engine, estimate and notes

    @property
    def _state(self) -> str:
        return "converged" if self.converged else "NOT converged"

    @property
    def engine(self) -> Any:
        """The engine with its options resolved."""
        return self._fitted.engine

    @property
    def converged(self) -> bool:
        """Whether the optimiser reached a maximum."""
        return int(self._fitted.estimate.code) == 1

    @property
    def n_iterations(self) -> int:
        """Steps of the optimiser; of a trained guide, epochs and steps of polishing."""
        return int(self._fitted.estimate.steps)

    @property
    def message(self) -> str:
        """How the optimiser ended, in a sentence, and what else should be known."""
        return " ".join(dict.fromkeys((MESSAGES[int(self._fitted.estimate.code)], *self.warnings)))

    @property
    def warnings(self) -> tuple[str, ...]:
        """Sentences about convergence; empty for a sound solution."""
        return () if self.converged else (MESSAGES[int(self._fitted.estimate.code)],)

    @property
    def notes(self) -> tuple[str, ...]:
        """What was done to the data on the way: rows dropped, and why."""
        return self._fitted.notes

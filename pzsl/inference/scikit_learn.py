"""The base classes of scikit-learn's estimators, and substitutes if it isn't installed."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from pzsl.errors import UserError

if TYPE_CHECKING:

    class ScikitClassifier:
        """Base of a classifier."""

    class UnfittedError(UserError):
        """Nothing is learnt yet."""

else:
    try:
        from sklearn.base import BaseEstimator, ClassifierMixin
        from sklearn.exceptions import NotFittedError

        class ScikitClassifier(ClassifierMixin, BaseEstimator):
            """Base of a classifier: repr, tags and the routing of parameters are scikit-learn's."""

        class UnfittedError(UserError, NotFittedError):
            """Nothing is learnt yet."""

    except ImportError:

        class ScikitClassifier:
            """Base of a classifier without scikit-learn."""

            def __repr__(self) -> str:
                """Name and arguments."""
                params: dict[str, Any] = self.get_params()
                inside = ", ".join(f"{name}={value!r}" for name, value in params.items())
                return f"{type(self).__name__}({inside})"

        class UnfittedError(UserError):
            """Nothing is learnt yet."""

"""Versions of the numbers: which runs would have other results today.

A run records the version of its numbers as `results`, which goes into its name.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

RESULTS = 6
"""Version of the numbers: raised when a change of the code changes the results of any run."""
CHANGED = {"gda": 2, "tip-adapter": 2, "clip-pzsl": 6, "oracle": 2}
"""How often the results of a method have changed alone: the first two chose alpha anew in each
fold, on images that they took by their position in the file; `clip-pzsl` found too few wrong
labels where each image has a single one or most have none, believed the names of the classes
however little they say, and the sets that its own encoder had made, and like `oracle` weighed
prototypes too little in closed sets and let label weights follow the network's own softmax."""
CHANGED_CLASSIFIERS = ("zlap", "transclip", "em-dirichlet", "gda")
"""Classifiers of `conse` whose results have changed alone: all but `gda` were not shown the images
to classify."""


def results_of(method: str, options: Mapping[str, Any], labels: str) -> int:
    """Version of the numbers of a run of this method with these options and labels."""
    return RESULTS + own_changes(method, options, labels)


def own_changes(method: str, options: Mapping[str, Any], labels: str) -> int:
    """How often the numbers of such runs have changed while those of all others stayed the same.

    Labels from attributes were learnt on held-out images, too, when gamma was chosen.
    """
    classifier = options.get("classifier") if method == "conse" else None
    changes = CHANGED.get(method, 0) + (classifier in CHANGED_CLASSIFIERS)
    return changes + (labels != "text")

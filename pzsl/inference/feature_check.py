"""Whether features that are given to a run are of its encoder."""

from __future__ import annotations

from pzsl.errors import UserError
from pzsl.evaluation import SAMPLE, other_encoder_doubt
from pzsl.exchange.vectors import as_unit
from pzsl.inference.model import Model
from pzsl.inference.sources import Source
from pzsl.progress import say


def check_features(run: Model, source: Source) -> None:
    """Compare features (.npy) with those that a run was trained on; images are not features.

    Features that look like another encoder's are told of: all answers to them would be guesses.

    Raises:
        UserError: they have another number of dimensions.
    """
    vectors = source.vectors
    if vectors is None:
        return
    if vectors.shape[1] != run.dim:
        raise UserError(
            f"The features have {vectors.shape[1]} dimensions, the training features have "
            f"{run.dim}: give features of the same encoder."
        )
    trained_mean = run.mean_image()
    if trained_mean is None:  # packed by an older version
        return
    sample = as_unit(vectors[:: -(-len(vectors) // SAMPLE)])
    doubt = other_encoder_doubt(trained_mean, sample)
    if doubt:
        encoder = f"{run.encoder['model']} {run.encoder['pretrained']}".strip()
        say(f"{doubt} They should be of the encoder of {run.where} ({encoder}).")

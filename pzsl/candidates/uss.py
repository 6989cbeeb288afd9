"""`uss`: uniform sampling of sets."""

from __future__ import annotations

from pzsl.candidates.noise_input import Images, Mask
from pzsl.candidates.uniform import uniform

RATE = 0.5
"""Each wrong label is in half of the sets that contain the true label."""


def uss(images: Images, rate: float, eta: float) -> Mask:
    """Draw uniformly among all sets of seen labels that contain the true label.

    This equals `uniform` at rate 0.5. (Feng et al. leave out the set of all labels, which is one
    set in 2^(K - 1).)

    Args:
        images: n images.
        rate: not used: always 0.5.
        eta: not used (the true label is always a candidate).

    Returns:
        (n, K) mask. Source: Feng et al. 2020, 'Provably consistent partial-label learning', eq. 5.
    """
    return uniform(images, RATE, eta)

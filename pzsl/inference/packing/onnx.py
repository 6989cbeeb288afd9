"""The scoring part of a trained method as an ONNX file."""

from __future__ import annotations

import contextlib
import io
import warnings
from pathlib import Path

import torch
from torch import Tensor, nn

from pzsl.errors import UserError
from pzsl.inference.restore import Scorer

OPSET = 18
TRACED = 8
"""Images that the method is traced on."""
CLOSE = 1e-5
"""How far scores may differ, relative to the largest or the logit scale: ONNX rounds otherwise."""


class ScoringPart(nn.Module):
    """Unit image embeddings (n, D) to scores (n, C), less gamma for seen classes."""

    gamma: Tensor

    def __init__(self, scorer: Scorer) -> None:
        super().__init__()
        self.method = scorer.method
        gamma = torch.zeros(len(scorer.names))
        gamma[: scorer.seen] = scorer.gamma
        self.register_buffer("gamma", gamma)

    def forward(self, images: Tensor) -> Tensor:
        """Scores of images."""
        return self.method.scores(images) - self.gamma


def export_onnx(scorer: Scorer, file: Path, images: Tensor) -> float:
    """Export the scoring part to ONNX, and compare it with the method.

    Args:
        scorer: the trained method. file: to write. images: (n, D) that both score.

    Returns:
        The largest difference between its scores and those of the method.

    Raises:
        UserError: onnx isn't installed, the method is transductive, or the scores differ.
    """
    try:
        import onnx  # noqa: F401
        import onnxruntime
    except ImportError:
        raise UserError("--onnx needs onnx and onnxruntime: pip install 'pzsl[onnx]'.") from None
    if scorer.method.transductive:
        raise UserError("A transductive run has no ONNX form: it looks at all images together.")
    part = ScoringPart(scorer).eval()
    generator = torch.Generator().manual_seed(0)
    traced = torch.randn(TRACED, images.shape[1], generator=generator)
    traced = torch.nn.functional.normalize(traced, dim=-1)
    with torch.no_grad(), warnings.catch_warnings(), contextlib.redirect_stdout(io.StringIO()):
        warnings.simplefilter("ignore")
        torch.onnx.export(
            part,
            (traced,),
            str(file),
            input_names=["images"],
            output_names=["scores"],
            dynamic_axes={"images": {0: "n"}, "scores": {0: "n"}},
            opset_version=OPSET,
            dynamo=False,  # a trace: trained tensors become constants of the graph
        )
        expected = part(images).numpy()
    session = onnxruntime.InferenceSession(str(file), providers=["CPUExecutionProvider"])
    actual = session.run(["scores"], {"images": images.numpy()})[0]
    difference = float(abs(actual - expected).max())
    if not difference <= CLOSE * max(scorer.method.problem.scale, float(abs(expected).max())):
        raise UserError(
            f"A run of {type(scorer.method).__name__} has no ONNX form: the graph's scores differ "
            f"from its own by {difference:g}. Pack it without --onnx."
        )
    return difference

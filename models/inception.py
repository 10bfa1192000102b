"""The Inception network by which papers compare generated pictures (FID, inception score). Its weights are a file of
torch-fidelity, whose network this is (extra `fidelity`).
"""

import io
from hashlib import file_digest
from pathlib import Path

import torch
from torch import Tensor, nn

from launchbay import UserError

FILE = "weights-inception-2015-12-05-6726825d.pth"
DIGEST = "6726825d"
"""How the SHA-256 of the file begins, as its name says."""
SOURCE = f"github.com/toshas/torch-fidelity/releases/download/v0.2.0/{FILE}"


class Inception(nn.Module):
    """Inception of 2015 with the weights of TensorFlow's graph: N×C×H×W in [0, 1] of any size, C = 1 or 3, brought to
    8 bits and to 299×299 pixels as there.

    `head` gives 1,008 logits without their bias, as the published inception score has them.
    """

    def __init__(self, weights: Path):
        super().__init__()
        from torch_fidelity.feature_extractor_inceptionv3 import FeatureExtractorInceptionV3

        tensors = io.BytesIO()  # it would unpickle the file, whatever that holds: it gets one with nothing but tensors
        torch.save(torch.load(weights, weights_only=True), tensors)
        tensors.seek(0)
        self.extractor = FeatureExtractorInceptionV3("inception", ["2048"], feature_extractor_weights_path=tensors)
        self.head = nn.Linear(2048, 1008, bias=False)
        self.head.weight = self.extractor.fc.weight

    def features(self, image: Tensor) -> Tensor:
        """Return the 2,048 features of each picture."""
        pixels = (image.clamp(0, 1) * 255).round().byte().expand(-1, 3, -1, -1)
        return self.extractor(pixels)[0].to(image.dtype)


def load_inception() -> Inception:
    """Return the network with its published weights.

    Raises:
        UserError: torch-fidelity or the file is not here, or the file is another one.
    """
    where = Path(torch.hub.get_dir()) / "checkpoints" / FILE
    try:
        import torch_fidelity  # noqa: F401  # pyright: ignore[reportMissingImports, reportUnusedImport]
    except ImportError as error:
        raise UserError("the Inception network is torch-fidelity's", "pip install torch-fidelity") from error
    if not where.is_file():
        raise UserError(f"there are no weights of Inception: {where}", f"put the file there; it is at {SOURCE}")
    with where.open("rb") as file:
        found = file_digest(file, "sha256").hexdigest()
    if not found.startswith(DIGEST):
        said = f"{where} has the SHA-256 {found[:8]}..., not {DIGEST}...: it is damaged, or another file"
        raise UserError(said, f"move it away, and put that of {SOURCE} there")
    return Inception(where)

"""What ``predict.py`` says of an image: its classes with their probabilities; of pixels their shares, and a mask."""

import sys
from pathlib import Path

import numpy as np
from classifier import Classifier

MASKS = Path("masks")
"""Where masks go, below the folder that the program was started in."""


def answer(classifier: Classifier, file: Path) -> int:
    """Print the likeliest classes of an image; 2 where the file cannot be read, else 0."""
    try:
        image = classifier.read(file)
        p_K, written_to = classifier(image), ""
        if classifier.masks:
            from mask_pictures import picture_on, shares_of  # only bundles that write masks have it

            path, written_to = mask_of(file), f" -> {mask_of(file)}"
            path.parent.mkdir(parents=True, exist_ok=True)
            picture_on(p_K.argmax(0), image.size, classifier.how).save(path)
            p_K = shares_of(p_K)
    except Exception as error:  # Pillow raises nearly anything for a damaged file
        print(f"{file}: {getattr(error, 'strerror', None) or ' '.join(str(error).split())}", file=sys.stderr)
        return 2
    likeliest = ", ".join(f"{classifier.labels[k]} {p_K[k]:.4f}" for k in np.argsort(-p_K)[:5])
    print(f"{file}: {likeliest}{written_to}", flush=True)
    return 0


def mask_of(file: Path) -> Path:
    """Where the mask of an image goes: its whole path, so that images of one name in two folders keep two."""
    inner = [part for part in file.parts if part not in {file.anchor, ".."}]
    return MASKS.joinpath(*inner[:-1], f"{inner[-1]}.png")

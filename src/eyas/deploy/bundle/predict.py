"""Classes of images, or of their pixels: ``python predict.py cat.png``. Needs onnxruntime, numpy and Pillow alone."""

import argparse
import contextlib
import sys
import time
from pathlib import Path

from classifier import Classifier
from image_answers import answer


def watch(classifier: Classifier, folder: Path) -> None:
    """Answer the files of a folder, and those that come or change, until interrupted."""
    if not any(folder.iterdir()):
        print(f"{folder} is empty: waiting for images", file=sys.stderr, flush=True)
    known: dict[Path, float] = {}
    while True:
        with contextlib.suppress(FileNotFoundError):  # a file that went while they were looked through
            files = {file: file.stat().st_mtime for file in folder.glob("[!.]*") if file.is_file()}
            for file in sorted(file for file, changed in files.items() if known.get(file) != changed):
                answer(classifier, file)
            known = files
        time.sleep(0.5)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("images", nargs="*", type=Path)
    parser.add_argument("--check", action="store_true", help="replay the golden pairs")
    parser.add_argument("--statistics", type=Path, metavar="FILE", help="of adapt.py, where the bundle has that")
    parser.add_argument("--camera", type=Path, metavar="DIR", help="answer what is in a folder and what comes into it")
    asked = parser.parse_args()
    if not (asked.images or asked.check or asked.camera) or (asked.camera and not asked.camera.is_dir()):
        parser.error(f"{asked.camera} is no folder" if asked.camera else "name an image, --check or --camera DIR")
    sys.stdout.reconfigure(errors="backslashreplace")  # type: ignore[union-attr]  # names a terminal lacks
    try:
        here = Path(__file__).resolve().parent
        classifier = Classifier(here)
        if asked.check:
            what = "a share of the pixels" if classifier.masks else "a probability"
            print(f"golden pairs: as expected, {what} differs from PyTorch's by {classifier.check():.2g} at most")
        if asked.statistics:
            if not (here / "adaptable.onnx").exists():
                parser.error("--statistics: this bundle takes none, export it with export.adaptable")
            from adapted_classifier import AdaptedClassifier

            classifier = AdaptedClassifier(here, asked.statistics)
    except Exception as error:  # a file of the bundle is missing or damaged
        sys.exit(f"{type(error).__name__}: {' '.join(str(error).split())}")
    try:
        status = max([answer(classifier, image) for image in asked.images], default=0)
        if asked.camera:
            watch(classifier, asked.camera)
    except KeyboardInterrupt:
        status = 130
    sys.exit(status)

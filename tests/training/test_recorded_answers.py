from pathlib import Path

import numpy as np
import torch

from eyas.data.tasks import class_overlap
from eyas.training.evaluation import Evaluation, evaluate
from eyas.training.labelled_images import TensorSplit
from eyas.training.recorded_answers import read_answers, write_answers


def test_what_networks_answered_is_kept_as_it_was(tmp_path: Path) -> None:
    images, labels = torch.randn(11, 1, 2, 2), torch.arange(11) % 3
    split = TensorSplit(images, labels)
    model = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(4, 3))
    test = evaluate(model, split, batch_size=4)
    assert torch.equal(test.answers == labels, test.correct)
    write_answers(tmp_path / "answers.parquet", split, {"dense": test})
    kept = read_answers(tmp_path / "answers.parquet")
    assert kept.labels.tolist() == labels.tolist()
    assert kept.answers["dense"].tolist() == model(images).argmax(1).tolist()
    assert kept.overlaps == {}


def test_of_pixels_the_overlap_of_each_class_is_kept(tmp_path: Path) -> None:
    labels_NHW, answers_NHW = torch.randint(0, 3, (2, 5, 4, 4))
    overlap_2NK = class_overlap(answers_NHW, labels_NHW, 3)
    split = TensorSplit(torch.zeros(5, 1, 4, 4), labels_NHW)
    test = Evaluation(0.5, 1.0, 5, mean_iou=0.5, overlap=overlap_2NK)
    write_answers(tmp_path / "answers.parquet", split, {"pruned": test})
    kept = read_answers(tmp_path / "answers.parquet")
    assert np.array_equal(kept.overlaps["pruned"], overlap_2NK.numpy())
    assert not kept.answers
    assert not len(kept.labels)

"""What several tests train with, and how they compare what came out."""

import hashlib

import pytest

from eyas.training import train
from eyas.training.recipes.sgd import SGD

RECIPE = SGD(batch_size=32, learning_rate=0.1)


def state_hash(model):
    digest = hashlib.sha256()
    for name, value in sorted(model.state_dict().items()):
        digest.update(name.encode() + value.contiguous().numpy().tobytes())
    return digest.hexdigest()


def train_killed(model, *splits, epochs, **options):
    """A training that dies at the end of its last epoch, before that one's checkpoint."""

    class KilledError(Exception):
        pass

    def kill(done, total, text=""):
        if done == total:
            raise KilledError

    with pytest.raises(KilledError):
        train(model, *splits, epochs=epochs, progress=kill, **options)

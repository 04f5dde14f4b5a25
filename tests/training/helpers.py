"""What several tests train with, and how they compare what came out."""

import hashlib

from eyas.training.recipes.sgd import SGD

RECIPE = SGD(batch_size=32, learning_rate=0.1)


def state_hash(model):
    digest = hashlib.sha256()
    for name, value in sorted(model.state_dict().items()):
        digest.update(name.encode() + value.contiguous().numpy().tobytes())
    return digest.hexdigest()

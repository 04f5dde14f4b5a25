"""Which network a message is about: of equal digests the statistics of one fit the other."""

import hashlib

import safetensors.torch
from torch import nn

from eyas.calibration.batchnorm import batch_norms
from eyas.networks.named_tensors import state
from eyas.pruning.model_digests import code_digest, modules_digest


def network_digest(model: nn.Module) -> str:
    """sha256 over modules, code and all tensors but batch-norm statistics, which each site may have of its own."""
    statistics = {id(buffer) for layer in batch_norms(model) for buffer in layer.buffers(recurse=False)}
    own = {name for name, buffer in model.named_buffers() if id(buffer) in statistics}
    tensors = safetensors.torch.save({name: tensor for name, tensor in state(model).items() if name not in own})
    return hashlib.sha256(f"{modules_digest(model)}{code_digest(model)}".encode() + tensors).hexdigest()

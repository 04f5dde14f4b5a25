"""Whole networks are exported and timed in turns."""

import numpy as np
import torch

import eyas
import models
from eyas.deploy.latency.whole_networks import time_networks
from tests.deploy.latency_tables import table_of


def test_a_wider_network_takes_longer():
    space = eyas.trace(models.build("resnet8", 10, width=32).eval(), (torch.zeros(1, 3, 16, 16),))
    dense = np.array([group.channels for group in space.groups])
    dense_ms, small_ms = time_networks(space, np.stack([dense, dense // 8]), table_of(space))
    assert 0 < small_ms < dense_ms

"""The networks on the bins by name.

Belongs here: their factories. Does not: the networks (`model.networks.bin_models`).
"""

from model.networks.bin_models import BIN_MODELS, BinModel
from model.predictors.factory import ModelInputs
from model.predictors.torch_predictor import NetworkFactory
from model.training.config import BIN_RECIPE


def _network(inputs: ModelInputs) -> BinModel:
    return BinModel(inputs.config, n_bins=inputs.n_bins, channel_names=inputs.channel_names)


MLP, CNN, TRANSFORMER = (
    NetworkFactory(config=BIN_MODELS[kind], recipe=BIN_RECIPE, network=_network)
    for kind in ("mlp", "cnn", "transformer")
)

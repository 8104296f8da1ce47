"""What the command line knows of the model before it is needed: nothing here imports torch."""

from model.registry import ModelSpec

GATED_POOLING = ModelSpec(
    name="gated-pooling",
    description="gated sum over the bins, weighed by distance",
    factory="example_plugin.gated_pooling:FACTORY",
)

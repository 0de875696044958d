"""What networks cost when they run."""

from __future__ import annotations

import pytest

from vernier.errors import InputError
from vernier.zoo import create_model
from vernier.zoo.complexity import complexity
from vernier.zoo.timing import measure_costs


def test_costs_of_pictures_and_of_cubes() -> None:
    models = {
        "small": create_model("sesr-m3", scale=2).train(),
        "large": create_model("sesr-xl", scale=2),
        "cube": create_model("psrt", scale=4, embed=8, num_heads=2, num_blocks=1),
    }
    costs = measure_costs(models, (12, 10))
    assert list(costs) == list(models)
    for name, model in models.items():
        counted = complexity(model, (12, 10))
        assert (costs[name].parameters, costs[name].macs) == (counted.parameters, counted.macs)
        assert costs[name].seconds > 0
    # In and out of a layer, float32: 16 and 32 features at 12x10, 8 of the cube at 48x40.
    assert costs["small"].memory >= 2 * 4 * 16 * 12 * 10
    assert costs["large"].memory >= 2 * 4 * 32 * 12 * 10
    assert costs["cube"].memory >= 2 * 4 * 8 * 48 * 40


def test_memory_grows_with_the_picture() -> None:
    models = {"net": create_model("sesr-m3", scale=2).deploy()}
    small, large = (measure_costs(models, (8 * n, 8))["net"].memory for n in (1, 4))
    assert large == pytest.approx(4 * small, rel=0.1)


def test_a_device_that_is_not_there() -> None:
    with pytest.raises(InputError, match="abacus"):
        measure_costs({"net": create_model("sesr-m3", scale=2)}, (8, 8), "abacus")

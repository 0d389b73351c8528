"""A convolutional network learns real colour images: two epochs on a part of CIFAR-10 lift it well above chance."""

from pathlib import Path

import pytest
import torch

from trainatlas.data import sources
from trainatlas.study.trial import Trial
from trainatlas.train.examples import ExampleStore
from trainatlas.train.stacked import train_stack

ARCHIVE = Path(__file__).resolve().parents[3] / "shared" / "data" / "cifar-10-batches-bin.tar.xz"


@pytest.fixture(scope="module")
def cifar10(tmp_path_factory: pytest.TempPathFactory) -> None:
    """The true files: from the archive beside the checkout, or wherever this machine has them."""
    patch = pytest.MonkeyPatch()
    if ARCHIVE.exists():
        folder = tmp_path_factory.mktemp("data")
        (folder / ARCHIVE.name).symlink_to(ARCHIVE)
        patch.setenv(sources.VARIABLE, str(folder))
    elif sources.find("cifar10") is None:
        pytest.skip("CIFAR-10 is not on this machine: trainatlas data fetch cifar10")
    yield
    patch.undo()


@pytest.mark.slow
def test_two_epochs_on_a_part_of_cifar10_rise_well_above_chance(cifar10: None) -> None:
    trial = Trial(
        data="cifar10(examples=4000, test=1000)",
        network="cnn(depth=3, width=8)",
        activation="relu",
        init="kaiming_normal",
        normalisation="batch",
        optimizer="adam",
        preprocessing="channel_standardize",
        learning_rate=0.003,
        batch_size=64,
        epochs=2,
        seed=0,
        validation_share=0.1,
        augmentation="horizontal_flip",
    )
    device = torch.device("cpu")
    (result,) = train_stack([trial], ExampleStore(device), device, "light")
    assert result.status == "ok"
    assert (result.metrics["test_accuracy"] or 0.0) > 0.25, "chance is 0.1"

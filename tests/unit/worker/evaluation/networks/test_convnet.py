import pytest
import torch

from worker.evaluation.networks.convnet import ConvNet


@pytest.mark.parametrize(("channels", "image_size"), [(1, 8), (3, 32), (3, 64)])
def test_logits_have_one_column_per_class(channels, image_size):
    network = ConvNet(channels=channels, image_size=image_size, classes=7, width=4)
    assert network(torch.zeros(2, channels, image_size, image_size)).shape == (2, 7)


def test_the_literature_s_network_has_its_number_of_parameters():
    network = ConvNet(channels=3, image_size=32, classes=10)
    assert sum(parameter.numel() for parameter in network.parameters()) == 320_010


def test_an_image_s_logits_do_not_depend_on_its_batch():
    network = ConvNet(channels=1, image_size=8, classes=3, width=4).double()
    images = torch.randn(5, 1, 8, 8, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    torch.testing.assert_close(network(images)[2:3], network(images[2:3]))


def test_images_smaller_than_the_pooling_are_refused():
    with pytest.raises(ValueError, match="needs images of 8 pixels"):
        ConvNet(channels=1, image_size=4, classes=3)

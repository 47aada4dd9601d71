from worker.datasets.readers import digits
from worker.training.card import write_card
from worker.training.loss_curve import LossCurve
from worker.training.model import Architecture, build
from worker.training.train import Trained, TrainingConfig


def test_the_card_says_what_the_weights_were_trained_on_and_how(tmp_path):
    dataset = digits.read(image_size=8, channels=1)
    trained = Trained(build(Architecture(8, 1, 10, heads=1, head_dim=8, blocks=1), 0), loss=0.123, curve=LossCurve(10))
    write_card(
        tmp_path, "digits", dataset, TrainingConfig(seed=5), trained, command="dapple train sklearn://digits", seconds=600
    )
    card = (tmp_path / "README.md").read_text()
    for told in (
        "# digits",
        dataset.digest,
        "1,347 images of 10 classes; 450 held-out",
        "dapple train sklearn://digits",
        "| 5 |",
        "0.1230",
        "10 minutes",
    ):
        assert told in card

"""Trains a classifier on a small set and tests it on held-out images."""

from collections.abc import Iterator
from dataclasses import dataclass
from threading import Lock

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn
from torch.nn import functional

from worker.evaluation.networks.convnet import ConvNet
from worker.evaluation.protocols import TrainingProtocol
from worker.progress import ReportProgress, no_progress

TEST_BATCH = 512
_INITIALISING = Lock()  # layers draw from the global generator, and threads may build networks at the same time

Images = Float[Tensor, "n channels size size"]
Labels = Int[Tensor, " n"]


@dataclass(frozen=True)
class Score:
    """Test accuracies in percent.

    `last` is the accuracy after the last iteration (the headline), `best` is the best accuracy
    seen, and `curve` holds pairs (iteration, accuracy) on the way. `best` is chosen on the test
    set, as in much of the literature, and is therefore optimistic.
    """

    last: float
    best: float
    curve: tuple[tuple[int, float], ...]


def train_and_test(
    train_images: Images,
    train_labels: Labels,
    test_images: Images,
    test_labels: Labels,
    *,
    protocol: TrainingProtocol,
    seed: int,
    may_flip: bool = False,
    report: ReportProgress = no_progress,
) -> Score:
    """The test accuracy of a network trained on the training images only.

    Images are square, in [-1, 1], and all on one device. `may_flip` allows horizontal flips, for
    classes that do not distinguish left from right. `report` is called after each iteration and may
    raise to stop. The same arguments give the same score on the same kind of device with the same
    number of threads. The global generator is neither used nor changed.
    """
    generator = torch.Generator().manual_seed(seed)
    classes = int(torch.cat([train_labels, test_labels]).max()) + 1
    network = _network(protocol, train_images, classes, seed)
    optimizer = torch.optim.SGD(
        network.parameters(), lr=protocol.lr, momentum=protocol.momentum, weight_decay=protocol.weight_decay
    )
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, protocol.iterations)
    stops = {protocol.iterations * k // protocol.evaluations for k in range(1, protocol.evaluations + 1)}
    curve: list[tuple[int, float]] = []
    batches = _batches(len(train_images), protocol.batch_size, generator)
    for done in range(1, protocol.iterations + 1):
        chosen = next(batches).to(train_images.device)
        images = augment(train_images[chosen], protocol, generator, may_flip=may_flip)
        optimizer.zero_grad()
        functional.cross_entropy(network(images), train_labels[chosen]).backward()
        optimizer.step()
        schedule.step()
        if done in stops:
            curve.append((done, accuracy(network, test_images, test_labels)))
        report(done, protocol.iterations)
    return Score(curve[-1][1], max(value for _, value in curve), tuple(curve))


@torch.no_grad()
def accuracy(network: nn.Module, images: Images, labels: Labels) -> float:
    """The percentage of images whose largest logit is that of their label."""
    hits = sum(
        int((network(x).argmax(1) == y).sum()) for x, y in zip(images.split(TEST_BATCH), labels.split(TEST_BATCH), strict=True)
    )
    return 100 * hits / len(labels)


def augment(
    images: Float[Tensor, "n channels size size"], protocol: TrainingProtocol, generator: torch.Generator, *, may_flip: bool
) -> Float[Tensor, "n channels size size"]:
    """Each image shifted by up to `crop_padding` of its side, and flipped at random if allowed.

    The probability of a flip is 0.5. The border pixels are continued outward.
    """
    count, size = len(images), images.shape[-1]
    pad = round(protocol.crop_padding * size)
    shifts = torch.randint(0, 2 * pad + 1, (2, count), generator=generator).to(images.device)
    flips = torch.rand(count, generator=generator).to(images.device) < (0.5 if may_flip else 0.0)
    steps = torch.arange(size, device=images.device)
    rows = (shifts[0, :, None] + steps)[:, None, :, None]
    columns = torch.where(flips[:, None], steps.flip(0), steps)
    columns = (shifts[1, :, None] + columns)[:, None, None, :]
    padded = functional.pad(images, (pad, pad, pad, pad), mode="replicate")
    every = torch.arange(count, device=images.device)[:, None, None, None]
    channels = torch.arange(images.shape[1], device=images.device)[None, :, None, None]
    return padded[every, channels, rows, columns]


def _network(protocol: TrainingProtocol, images: Images, classes: int, seed: int) -> ConvNet:
    """A network whose initial weights depend on `seed` alone.

    The global generator is left as it was.
    """
    with _INITIALISING, torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(seed)
        network = ConvNet(
            channels=images.shape[1],
            image_size=images.shape[-1],
            classes=classes,
            depth=protocol.depth,
            width=protocol.width,
        )
    return network.to(images.device)


def _batches(count: int, batch_size: int, generator: torch.Generator) -> Iterator[Int[Tensor, " batch_size"]]:
    """Full batches of indices below `count`, from one shuffled pass after another."""
    queue = torch.empty(0, dtype=torch.int64)
    while True:
        while len(queue) < batch_size:
            queue = torch.cat([queue, torch.randperm(count, generator=generator)])
        yield queue[:batch_size]
        queue = queue[batch_size:]

import torch

from worker.seeds import generator, seed_of


def test_a_seed_is_the_same_on_every_machine():
    assert seed_of(0, "cat", 3) == 171364386794707842


def test_a_seed_fits_a_signed_64_bit_integer():
    assert all(0 <= seed_of("image", index) < 2**63 for index in range(100))


def test_the_parts_of_a_name_are_kept_apart():
    assert len({seed_of("a", "bc"), seed_of("ab", "c"), seed_of("abc"), seed_of("a", "b", "c")}) == 4


def test_a_generator_follows_from_its_name_and_not_from_the_order_of_calls():
    first, other = (torch.randn(4, generator=generator("image", index)) for index in (0, 1))
    assert torch.equal(torch.randn(4, generator=generator("image", 0)), first)
    assert not torch.equal(first, other)

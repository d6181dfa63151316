from lightning.pytorch import Callback

from lightning_marlhf.callbacks.export import ExportHF
from lightning_marlhf.callbacks.guards import NaNGuard
from lightning_marlhf.callbacks.interrupt import GracefulInterrupt
from lightning_marlhf.callbacks.order import OPTIONAL_SECTIONS, ORDER, SECTIONS, in_order
from lightning_marlhf.callbacks.ranks import NameRanks


class Mine(Callback):
    """A callback of a user."""


def test_callbacks_of_users_stand_between_those_that_prepare_a_run_and_those_that_watch_it():
    first, second = Mine(), Mine()
    callbacks = [ExportHF(), NaNGuard(), first, GracefulInterrupt(), second, NameRanks()]
    kinds = [type(each) for each in in_order(callbacks)]
    assert kinds == [NameRanks, Mine, Mine, NaNGuard, GracefulInterrupt, ExportHF]
    assert in_order(callbacks)[1] is first


def test_every_callback_with_a_section_has_a_place():
    assert {*SECTIONS.values(), *OPTIONAL_SECTIONS.values()} <= set(ORDER)

"""Processes that parse: the same cuts as without them, failures that stay small, and no process left behind."""

import logging
import multiprocessing
import os
import signal
import time

import pytest
from nltk.tree import Tree

from lightning_marlhf.rollout.parser_pool import ParserPool
from lightning_marlhf.rollout.parsing import Parser, Sentence, TinyTLDRGrammar

TEXTS = ("my boss. lost the keys.", "on monday.", "no such sentence.", "", "should i leave?")
ROWS = [(text, range(1, len(text) + 1)) for text in TEXTS]  # every character is a token
CUTS = [[0, 8, 13], [0], None, [], [0]]  # of phrases below 12 characters; " the keys" has 9


class Moody(Parser):
    """A parser with faults: it has no model, dies, or raises an unexpected error."""

    def __init__(self, fault):
        self.fault = fault

    def prepare(self):
        if self.fault == "no model":
            raise ValueError("Moody: no models here")

    def __call__(self, text):
        if text == "die":
            os.kill(os.getpid(), signal.SIGKILL)
        if text == "odd":
            raise IndexError("odd text")
        return [Sentence(Tree("S", [text]), (len(text),))]


@pytest.fixture
def make_pool():
    """Build a pool whose processes have ended when the test ends."""
    pools = []

    def make(parser, *, num_processes):
        pools.append(ParserPool(parser, cutoff=12, num_processes=num_processes))
        return pools[-1]

    yield make
    pools.clear()
    for process in multiprocessing.active_children():
        process.terminate()
        process.join(10)


def check_cuts(pool):
    for rows, cuts in ((ROWS, CUTS), (ROWS[::-1], CUTS[::-1]), (ROWS[:1], CUTS[:1])):
        pool.submit(rows)
        assert pool.collect() == cuts


def test_every_row_gets_its_own_cuts_without_processes(make_pool):
    pool = make_pool(TinyTLDRGrammar(), num_processes=0)
    pool.start()
    check_cuts(pool)
    assert not multiprocessing.active_children()


def test_processes_give_the_same_cuts_ignore_an_interrupt_and_end_with_their_pool():
    pool = ParserPool(TinyTLDRGrammar(), cutoff=12, num_processes=2)
    pool.start()
    processes = multiprocessing.active_children()
    assert len(processes) == 2
    for process in processes:
        os.kill(process.pid, signal.SIGINT)
    time.sleep(0.1)
    check_cuts(pool)
    del pool
    for process in processes:
        process.join(10)
        assert process.exitcode == 0


def test_a_parser_s_error_costs_its_row_alone_and_is_told_once(make_pool, caplog):
    pool = make_pool(Moody("row"), num_processes=0)
    pool.start()
    for _ in range(2):
        pool.submit([("odd", [3]), ("fine", [4])])
        assert pool.collect() == [None, [0]]
    (record,) = caplog.records
    assert record.levelno == logging.WARNING
    assert "1 of 2 responses could not be parsed" in record.getMessage()
    assert "IndexError: odd text" in record.getMessage()


@pytest.mark.parametrize("num_processes", [0, 2])
def test_an_absent_model_fails_at_the_start(make_pool, num_processes):
    with pytest.raises(ValueError, match="Moody: no models here"):
        make_pool(Moody("no model"), num_processes=num_processes).start()


def test_a_process_that_dies_is_noticed_at_once(make_pool):
    pool = make_pool(Moody("dies"), num_processes=1)
    pool.start()
    pool.submit([("die", [3])])
    with pytest.raises(ValueError, match="a parser process has ended"):
        pool.collect()

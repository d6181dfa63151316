"""Who sees which pair, on which side which answer stands, and what undo and skip do."""

from collections import Counter

import pytest

from lightning_marlhf.annotation.session import OutdatedError, select
from lightning_marlhf.evaluation.pairs import Pair, draw
from lightning_marlhf.records import read_verdicts
from tests.annotation.pairs import make_pairs


def shown(session, name="ada"):
    pair = session.view(session.annotator(name))["pair"]
    return pair and pair["id"]


def judge(session, name="ada", winner="left", note=""):
    """Judge the pair on the page, and return its id."""
    pair_id = shown(session, name)
    session.submit_verdict(session.annotator(name), pair_id, winner=winner, note=note)
    return pair_id


def skip(session, name="ada"):
    pair_id = shown(session, name)
    session.skip(session.annotator(name), pair_id)
    return pair_id


def undo(session, name="ada"):
    session.undo(session.annotator(name))
    return shown(session, name)


def finish(session, name="ada"):
    """Judge all that comes, and return it."""
    judged = []
    while shown(session, name) is not None:
        judged.append(judge(session, name))
    return judged


def position(session, name="ada"):
    view = session.view(session.annotator(name))
    return view["done"], view["total"]


# Blinding


@pytest.mark.parametrize("winner", ["left", "right", "tie"])
def test_a_verdict_names_the_response_that_stood_where_the_key_says(make_session, winner, tmp_path):
    session = make_session(12)
    expected = []
    for _ in range(12):
        pair = session.view(session.annotator("ada"))["pair"]
        left, right = pair["left"], pair["right"]
        expected.append("tie" if winner == "tie" else {"left": left, "right": right}[winner][5])
        assert {left[:6], right[:6]} == {"from a", "from b"}
        judge(session, winner=winner)
    rows = read_verdicts(tmp_path / "v.jsonl")
    assert [row.winner for row in rows] == expected
    assert {row.order for row in rows} == {"ab", "ba"}


def test_sides_are_drawn_for_each_pair_and_annotator_alike_often(make_session):
    session = make_session(400)
    order = {
        name: [session._order(session.annotator(name), pair) for pair in session.selection.pairs]
        for name in ("ada", "bob")
    }
    for drawn in order.values():
        assert abs(Counter(drawn)["ab"] - 200) < 4 * 10  # four standard deviations of B(400, 1/2)
    same = sum(one == other for one, other in zip(*order.values(), strict=True))
    assert abs(same - 200) < 4 * 10


def test_sides_are_those_before_the_restart_and_of_the_seed(make_session):
    def sides(session):
        person, pairs = session.annotator("ada"), session.selection.pairs
        return {pair.pair_id: session._order(person, pair) for pair in pairs}

    assert sides(make_session(40)) == sides(make_session(40)) != sides(make_session(40, seed=2))


def test_what_the_page_gets_does_not_say_whose_responses_they_are(make_session):
    session = make_session([Pair("id", "p", "x", "y")])
    view = session.view(session.annotator("ada"))
    assert set(view["pair"]) == {"id", "prompt", "left", "right"}
    assert {view["pair"]["left"], view["pair"]["right"]} == {"x", "y"}


# Going through the pairs


def test_every_pair_comes_once_and_progress_is_counted(make_session):
    session = make_session(5)
    assert position(session) == (0, 5)
    judged = finish(session)
    assert judged == [pair.pair_id for pair in session.selection.pairs]
    assert position(session) == (5, 5)


def test_skipped_pairs_come_back_at_the_end_in_their_order(make_session):
    session = make_session(5)
    order = [pair.pair_id for pair in session.selection.pairs]
    assert [judge(session), skip(session), judge(session), skip(session)] == order[:4]
    assert finish(session) == [order[4], order[1], order[3]]


def test_a_pair_skipped_again_goes_behind_the_others_that_were_skipped(make_session):
    session = make_session(2)
    first, second = skip(session), skip(session)
    assert [skip(session), shown(session)] == [first, second]


def test_undo_goes_back_over_several_verdicts_and_skips(make_session, tmp_path):
    session = make_session(4)
    order = [judge(session), skip(session), judge(session), judge(session)]
    assert [undo(session) for _ in range(4)] == order[::-1]
    assert read_verdicts(tmp_path / "v.jsonl") == []
    assert not session.view(session.annotator("ada"))["can_undo"]
    with pytest.raises(ValueError, match="nothing to undo"):
        undo(session)
    assert finish(session) == order


def test_undo_brings_back_the_note(make_session):
    session = make_session(2)
    judge(session, note=" hard to say\n")
    undo(session)
    assert session.view(session.annotator("ada"))["note"] == "hard to say"
    judge(session)
    assert session.view(session.annotator("ada"))["note"] == ""


def test_undo_is_of_one_s_own_verdicts(make_session, tmp_path):
    session = make_session(3)
    judge(session, "ada")
    judge(session, "bob")
    undo(session, "ada")
    assert [row.judge for row in read_verdicts(tmp_path / "v.jsonl")] == ["human:bob"]
    with pytest.raises(ValueError, match="nothing to undo"):
        undo(session, "ada")


def test_the_only_pair_left_can_be_skipped_and_is_nothing_to_undo(make_session):
    session = make_session(1)
    assert skip(session) == shown(session)
    view = session.view(session.annotator("ada"))
    assert (view["can_undo"], view["skipped"]) == (False, 0)  # it is back already


def test_undo_passes_over_the_skip_of_a_pair_that_is_back_on_the_page(make_session):
    session = make_session(2)
    first = judge(session)
    assert skip(session) == shown(session)
    assert undo(session) == first


def test_a_verdict_sent_twice_is_kept_once(make_session, tmp_path):
    session = make_session(2)
    judged = judge(session)
    with pytest.raises(OutdatedError):
        session.submit_verdict(session.annotator("ada"), judged, winner="right")
    assert len(read_verdicts(tmp_path / "v.jsonl")) == 1


def test_what_is_no_verdict_is_refused(make_session, tmp_path):
    session = make_session(1)
    person = session.annotator("ada")
    for pair_id, winner, note in (("id9", "left", ""), ("id0", "a", ""), ("id0", "tie", "x" * 10_001)):
        with pytest.raises(ValueError, match=r"no pair|expected one of|too long"):
            session.submit_verdict(person, pair_id, winner=winner, note=note)
    assert not (tmp_path / "v.jsonl").exists()


def test_a_note_is_kept_as_text_that_any_program_can_read(make_session, tmp_path):
    session = make_session(1)
    judge(session, note="<script>\ud800\nsecond line\u2028\u202e")
    (row,) = read_verdicts(tmp_path / "v.jsonl")
    assert row.raw == "<script>?\nsecond line\u2028\u202e"


# Going on after a restart


def test_a_restart_goes_on_where_it_was(make_session):
    session = make_session(6)
    order = [judge(session), skip(session), judge(session)]
    session = make_session(6)
    assert position(session) == (2, 6)
    assert finish(session)[-1] == order[1]  # what was skipped still comes last


def test_undo_survives_a_restart_and_goes_back_beyond_it(make_session):
    session = make_session(4)
    order = [judge(session), judge(session), judge(session)]
    assert undo(session) == order[2]
    session = make_session(4)
    assert shown(session) == order[2]
    assert [undo(session), undo(session)] == [order[1], order[0]]


def test_a_verdict_on_a_page_from_before_the_restart_is_taken(make_session, tmp_path):
    on_page = shown(make_session(3))
    session = make_session(3)
    session.submit_verdict(session.annotator("ada"), on_page, winner="tie")
    (row,) = read_verdicts(tmp_path / "v.jsonl")
    assert (row.pair_id, row.seconds) == (on_page, None)


# Several annotators


def test_shared_pairs_go_to_everybody_and_each_of_the_others_to_one(make_session):
    session = make_session(20, overlap=0.25)
    judged = {"ada": [], "bob": []}
    for turn in range(12):
        for name in judged if turn % 2 else ("bob",):  # bob is twice as fast
            judged[name].append(judge(session, name))
    judged["ada"] += finish(session, "ada")
    judged["bob"] += finish(session, "bob")
    shared = [pair.pair_id for pair in session.selection.pairs[:5]]
    assert judged["ada"][:5] == judged["bob"][:5] == shared
    rest = Counter(judged["ada"][5:] + judged["bob"][5:])
    assert sorted(rest) == sorted(pair.pair_id for pair in session.selection.pairs[5:])
    assert set(rest.values()) == {1}


def test_without_overlap_nobody_gets_what_stands_on_another_s_page(make_session):
    session = make_session(3, overlap=0)
    assert len({shown(session, name) for name in ("ada", "bob", "eve")}) == 3


def test_the_last_pair_is_given_out_although_another_looks_at_it(make_session):
    session = make_session(2, overlap=0)
    left_alone = shown(session, "ada")
    assert finish(session, "bob")[-1] == left_alone
    assert shown(session, "ada") is None


def test_what_one_skipped_another_may_judge(make_session):
    session = make_session(2, overlap=0)
    skipped = skip(session, "ada")
    shown(session, "ada")
    assert judge(session, "bob") == skipped
    view = session.view(session.annotator("ada"))
    assert (view["skipped"], view["total"]) == (0, 1)


def test_a_name_is_the_same_person_whatever_its_case_and_spaces(make_session, tmp_path):
    session = make_session(3)
    judge(session, "Ada  Byron")
    judge(session, " ada byron ")
    judge(make_session(3), "ADA BYRON")
    assert {row.judge for row in read_verdicts(tmp_path / "v.jsonl")} == {"human:Ada Byron"}


@pytest.mark.parametrize("name", ["", "  ", "x" * 41, "a\u202eb", "a\x00", "\ud800"])
def test_what_is_no_name_is_refused(make_session, name):
    with pytest.raises(ValueError, match="expected a name"):
        make_session(1).annotator(name)


# Which pairs


def ids(selection):
    return [pair.pair_id for pair in selection.pairs]


def test_a_seed_draws_pairs_and_their_order_whatever_the_order_of_the_file():
    pairs = make_pairs(30)
    drawn = ids(select(pairs, num_prompts=10, overlap=0.2, seed=1))
    assert drawn == ids(select(pairs[::-1], num_prompts=10, overlap=0.2, seed=1))
    assert drawn == ids(select(pairs, num_prompts=20, overlap=0.2, seed=1))[:10]
    assert drawn != ids(select(pairs, num_prompts=10, overlap=0.2, seed=2))
    assert set(drawn) == {pair.pair_id for pair in draw(pairs, 10, seed=1, by_subreddit=False)}
    assert sorted(ids(select(pairs, num_prompts=None, overlap=0, seed=1))) == sorted(pair.pair_id for pair in pairs)


@pytest.mark.parametrize(
    ("count", "overlap", "shared"), [(10, 0, 0), (10, 1, 10), (100, 0.07, 7), (11, 0.2, 3), (3, 0.1, 1)]
)
def test_the_share_for_everybody_is_rounded_up_to_whole_pairs(count, overlap, shared):
    assert select(make_pairs(count), num_prompts=None, overlap=overlap, seed=1).num_shared == shared

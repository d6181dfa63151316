from lightning_marlhf.annotation.summary import summarize


def test_verdicts_are_counted_and_agreement_is_over_pairs_that_both_judged(make_session, tmp_path):
    session = make_session(4)
    for name, winners in {"ada": ["tie", "tie", "tie"], "bob": ["tie", "left"], "eve": []}.items():
        person = session.annotator(name)
        for winner in winners:
            session.answer(person, session.view(person)["pair"]["id"], winner=winner)
    assert list(summarize(session.selection, session.verdicts)) == [
        f"{tmp_path}/v.jsonl: 5 verdicts",
        "  ada: 3",
        "  bob: 2",
        "  ada and bob agree on 1 of 2 pairs (50%)",
        "left: 1 of 4 pairs without a verdict",
    ]


def test_agreement_is_on_answers_not_on_sides(make_session):
    session = make_session(30)
    for name in ("ada", "bob"):
        person = session.annotator(name)
        for _ in range(30):
            pair = session.view(person)["pair"]
            session.answer(
                person, pair["id"], winner="left" if "from a" in pair["left"] else "right"
            )
    assert "  ada and bob agree on 30 of 30 pairs (100%)" in summarize(
        session.selection, session.verdicts
    )

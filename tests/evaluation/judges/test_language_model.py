"""A language model as judge, behind servers that behave and servers that do not."""

import json
import logging
import time
from collections import Counter

import pytest

from lightning_marlhf.evaluation.judges import JudgeError
from lightning_marlhf.evaluation.judges.budget import Budget, BudgetSpent, Price
from lightning_marlhf.evaluation.pairs import Pair
from lightning_marlhf.evaluation.win_rate import summarize
from lightning_marlhf.records import append_jsonl, read_verdicts
from tests.evaluation.judges.stub_server import fails, prefers, said, serve

PAIRS = [Pair(f"{n}-0", f"prompt {n}", f"good {n}", f"bad {n}") for n in range(4)]


def only(verdicts):
    (verdict,) = verdicts
    return verdict


def shown_first(request):
    """The answer that stood first."""
    return request["messages"][0]["content"].split("[response A")[1].split("\n")[1]


def honest(request):
    return prefers("A" if shown_first(request).startswith("good") else "B")


# Verdicts


def test_a_judge_that_sees_quality_says_so_in_both_orders(make_judge):
    with serve(honest) as stub:
        verdicts = list(make_judge(stub).judge(PAIRS))
    assert Counter((v.order, v.winner) for v in verdicts) == {("ab", "a"): 4, ("ba", "a"): 4}
    rate = summarize(verdicts, PAIRS)
    assert (rate.win_rate, rate.flip_rate, rate.first_position_rate) == (1.0, 0.0, 0.5)


def test_a_judge_that_prefers_what_stands_first_tells_nothing(make_judge):
    with serve([prefers("A")]) as stub:
        verdicts = list(make_judge(stub).judge(PAIRS))
    rate = summarize(verdicts, PAIRS)
    assert (rate.win_rate, rate.flip_rate, rate.first_position_rate) == (0.5, 1.0, 1.0)
    assert rate.ties == len(PAIRS)


def test_a_verdict_holds_what_was_said_and_what_it_took(make_judge):
    with serve([said('{"preferred": "tie"} then', usage=(123, 7))]) as stub:
        judge = make_judge(stub, orders="one")
        verdict = only(judge.judge(PAIRS[:1]))
    assert verdict.judge == judge.name == f"openai:m@{stub.url}"
    assert (verdict.winner, verdict.raw) == ("tie", '{"preferred": "tie"} then')
    assert verdict.usage == {"prompt_tokens": 123, "completion_tokens": 7}
    assert verdict.fingerprint == PAIRS[0].fingerprint
    assert verdict.prompt_version.startswith("general_v1@")
    assert verdict.seconds is not None


def test_a_judge_reads_the_dialogue_without_the_marks_of_a_template(make_judge):
    asked = [{"role": "user", "content": "why?"}]
    with serve(honest) as stub:
        pair = Pair("1-0", "<start_of_turn>user\nwhy?<end_of_turn>", "good", "bad", messages=asked)
        only(make_judge(stub, orders="one").judge([pair]))
    (request,) = stub.requests
    assert "]\nwhy?\n[" in request["messages"][0]["content"]
    assert "start_of_turn" not in request["messages"][0]["content"]


def test_one_order_is_drawn_by_seed_and_pair_and_both_come_up(make_judge):
    many = [Pair(f"{n}-0", "p", "a", "b") for n in range(100)]
    with serve([prefers("A")]) as stub:
        orders = [make_judge(stub, orders="one", seed=1).orders(pair) for pair in many]
        again = [make_judge(stub, orders="one", seed=1).orders(pair) for pair in many]
        other = [make_judge(stub, orders="one", seed=2).orders(pair) for pair in many]
    assert orders == again != other
    assert 30 < Counter(orders)["ab",] < 70  # 4 standard deviations of 5 around 50


def test_identical_responses_are_a_tie_without_a_call(make_judge):
    with serve([prefers("A")]) as stub:
        verdicts = list(make_judge(stub).judge([Pair("1-0", "p", " same", "same ")]))
    assert [v.winner for v in verdicts] == ["tie", "tie"]
    assert stub.calls == 0


# Replies that cannot be read


def test_an_unreadable_reply_is_asked_for_again_once(make_judge):
    with serve([said("A is better, I think."), prefers("B")]) as stub:
        verdict = only(make_judge(stub, orders="one").judge(PAIRS[:1]))
    assert verdict.winner == verdict.order[1]
    assert verdict.usage == {"prompt_tokens": 200, "completion_tokens": 20}
    roles = [message["role"] for message in stub.requests[1]["messages"]]
    assert roles == ["user", "assistant", "user"]
    assert stub.requests[1]["messages"][1]["content"] == "A is better, I think."


@pytest.mark.parametrize("reply", ["no", "", "I cannot help with that."])
def test_two_unreadable_replies_are_invalid_and_never_a_tie(make_judge, reply):
    with serve([said(reply)]) as stub:
        verdict = only(make_judge(stub, orders="one").judge(PAIRS[:1]))
    error = "no verdict in the reply" if reply else "the reply is empty"
    assert (verdict.winner, verdict.error) == ("invalid", error)
    assert stub.calls == 2


def test_a_reply_that_was_cut_off_is_invalid_even_where_it_seems_whole(make_judge):
    with serve([said('{"preferred": "A"}', finish="length")]) as stub:
        verdict = only(make_judge(stub, orders="one", max_tokens=9).judge(PAIRS[:1]))
    assert (verdict.winner, verdict.error) == ("invalid", "cut off after 9 tokens (--max-tokens)")
    assert stub.calls == 1


@pytest.mark.parametrize(
    "body", ["", "<html>", "null", "[]", "{}", '{"choices": []}', '{"choices": [{"message": null}]}']
)
def test_a_malformed_reply_is_invalid(make_judge, body):
    with serve([(200, body)]) as stub:
        verdict = only(make_judge(stub, orders="one").judge(PAIRS[:1]))
    assert verdict.winner == "invalid"
    assert verdict.error.startswith("the reply is no chat completion")


# Servers that fail


def test_too_many_requests_are_sent_again_after_the_time_that_the_server_names(make_judge):
    with serve([fails(429, Retry_After="1"), prefers("A")]) as stub:
        verdict = only(make_judge(stub, orders="one", retries=2).judge(PAIRS[:1]))
    assert verdict.winner == verdict.order[0]
    assert stub.times[1] - stub.times[0] >= 1.0


def test_a_server_that_fails_once_is_asked_again(make_judge):
    with serve([fails(500), prefers("A")]) as stub:
        assert only(make_judge(stub, orders="one", retries=1).judge(PAIRS[:1])).winner != "invalid"
    assert stub.calls == 2


def test_a_server_that_always_fails_on_one_pair_leaves_the_others(make_judge):
    def answer(request):
        return fails(500, "boom") if "prompt 2" in str(request) else honest(request)

    with serve(answer) as stub:
        verdicts = {v.pair_id: v for v in make_judge(stub, orders="one", concurrency=1).judge(PAIRS)}
    assert [verdicts[pair.pair_id].winner for pair in PAIRS] == ["a", "a", "invalid", "a"]
    assert verdicts["2-0"].error == "the server failed (500): boom"


def test_a_server_that_hangs_costs_the_time_limit(make_judge):
    began = time.monotonic()
    with serve([("hang", 1.5)]) as stub:
        verdict = only(make_judge(stub, orders="one", timeout_s=0.2).judge(PAIRS[:1]))
        assert time.monotonic() - began < 1.4
    assert (verdict.winner, verdict.error) == ("invalid", "no reply within 0.2 s, tried 1 times")


def test_a_server_that_fails_again_and_again_is_given_up(make_judge):
    many = [Pair(f"{n}-0", "p", "a", "b") for n in range(50)]
    with serve([fails(503, "down")]) as stub, pytest.raises(JudgeError, match="5 failures in a row"):
        list(make_judge(stub, concurrency=1).judge(many))
    assert stub.calls == 5


@pytest.mark.parametrize(
    ("answer", "line"),
    [
        (fails(400, "bad\nrequest"), "does not take the request (400: bad request)"),
        (fails(401, "who?"), "does not accept requests without a key: --key-variable names"),
        (fails(404, "which?"), "does not know the model m"),
        ((422, {"detail": "odd"}), "does not take the request (422: odd)"),
        (fails(429, "quota"), "wants fewer requests, or the quota is used up"),
    ],
    ids=["400", "401", "404", "422", "429"],
)
def test_what_no_patience_mends_fails_at_once_in_one_line(make_judge, answer, line):
    retries = 0 if answer[0] == 429 else 3
    with serve([answer]) as stub, pytest.raises(JudgeError) as error:
        list(make_judge(stub, retries=retries, concurrency=1).judge(PAIRS))
    assert line in str(error.value)
    assert "\n" not in str(error.value)
    assert stub.calls == 1


def test_no_server_is_one_line_without_patience(make_judge):
    with serve([prefers("A")]) as stub:
        url = stub.url
    began = time.monotonic()
    with pytest.raises(JudgeError, match=f"cannot reach {url}"):
        list(make_judge(url, retries=5).judge(PAIRS))
    assert time.monotonic() - began < 5


def test_texts_that_are_too_long_are_invalid_and_the_others_are_judged(make_judge):
    def answer(request):
        if "prompt 1" in str(request):
            return fails(400, "This model's maximum context length is 8 tokens: max_tokens")
        return honest(request)

    with serve(answer) as stub:
        verdicts = {v.pair_id: v for v in make_judge(stub, orders="one").judge(PAIRS)}
    assert verdicts["1-0"].winner == "invalid"
    assert "maximum context length" in verdicts["1-0"].error
    assert Counter(v.winner for v in verdicts.values()) == {"a": 3, "invalid": 1}


# Servers that know other dialects


def test_a_server_without_structured_output_is_asked_in_words_alone(make_judge):
    def answer(request):
        if "response_format" in request:
            return fails(400, "response_format is not supported")
        return honest(request)

    with serve(answer) as stub:
        verdicts = list(make_judge(stub, concurrency=1).judge(PAIRS))
    assert {v.winner for v in verdicts} == {"a"}
    assert ["response_format" in request for request in stub.requests] == [True] + [False] * 8


def test_a_server_that_wants_max_completion_tokens_gets_them(make_judge):
    def answer(request):
        if "max_tokens" in request:
            return fails(400, "Unsupported parameter: use max_completion_tokens, not 'max_tokens'.")
        return honest(request)

    with serve(answer) as stub:
        verdicts = list(make_judge(stub, concurrency=1, max_tokens=77).judge(PAIRS))
    assert {v.winner for v in verdicts} == {"a"}
    assert {request.get("max_completion_tokens") for request in stub.requests[1:]} == {77}


def test_a_server_that_knows_no_temperature_is_asked_without_and_that_is_said(make_judge, caplog):
    def answer(request):
        if request.get("temperature", 1) != 1:
            return fails(400, "Unsupported value: 'temperature' does not support 0 with this model.")
        return honest(request)

    with serve(answer) as stub:
        judge = make_judge(stub, concurrency=1)
        assert {verdict.winner for verdict in judge.judge(PAIRS)} == {"a"}
    assert ["temperature" in request for request in stub.requests] == [True] + [False] * 8
    assert caplog.text.count("takes no temperature") == 1


def message(**changes):
    status, body = said("")
    body["choices"][0]["message"].update(changes)
    return status, body


def with_usage(usage):
    status, body = prefers("A")
    return status, body | {"usage": usage}


@pytest.mark.parametrize(
    ("answer", "winner", "error"),
    [
        (message(content=None, reasoning_content='{"preferred": "B"}'), "invalid", "is empty"),
        (message(content=[{"type": "text"}, 7]), "invalid", "is empty"),
        (
            message(content=[{"type": "thinking", "thinking": []}, {"type": "text", "text": "{"}]),
            "invalid",
            "no verdict",
        ),
        (message(content=[{"type": "text", "text": '{"preferred": "A"}'}]), "a", ""),
        ((200, {"error": {"message": "overloaded"}}), "invalid", "overloaded"),
        (message(content=7), "invalid", "is empty"),
        (message(content=None, refusal="I cannot."), "invalid", "no verdict"),
        (message(content=json.dumps({"preferred": "A"}) + " " * 200_000), "invalid", "too long"),
        (message(content="{" * 50_000), "invalid", "no verdict"),
        (with_usage({"prompt_tokens": "many", "completion_tokens": -1}), "a", ""),
        (with_usage([]), "a", ""),
        (message(content='{"comparison": "\ud83d \x1b[2J\0", "preferred": "A"}'), "a", ""),
        ((200, "[" * 100_000), "invalid", "no chat completion"),
        ((200, {"choices": []}), "invalid", "no chat completion"),
        ((200, {"choices": [{"message": 7}]}), "invalid", "no chat completion"),
        ((200, "null"), "invalid", "no chat completion"),
    ],
)
def test_a_hostile_reply_is_a_verdict_or_invalid(make_judge, tmp_path, answer, winner, error):
    with serve([answer]) as stub:
        verdict = only(make_judge(stub, orders="one", retries=0).judge(PAIRS[:1]))
    expected = {"a": verdict.order[0]}.get(winner, winner)
    assert verdict.winner == expected
    assert error in verdict.error
    assert "\n" not in verdict.error
    append_jsonl(tmp_path / "verdicts.jsonl", [verdict])
    assert read_verdicts(tmp_path / "verdicts.jsonl") == [verdict]


def test_the_temperature_is_sent_unless_it_is_the_servers_own(make_judge):
    with serve([prefers("A")]) as stub:
        list(make_judge(stub).judge(PAIRS[:1]))
        judge = make_judge(stub, temperature=None)
        list(judge.judge(PAIRS[:1]))
    assert [request.get("temperature") for request in stub.requests] == [0.0, 0.0, None, None]
    assert judge.name.endswith("(temperature None)")


# Keys


def test_the_key_goes_to_the_server_and_nowhere_else(make_judge, cache, tmp_path, monkeypatch, caplog, capsys):
    key = "sk-very-secret"
    monkeypatch.setenv("MY_KEY", f"{key}\n")
    caplog.set_level(logging.DEBUG)

    def answer(_):
        return fails(401, f"Incorrect API key provided: {key}")

    with serve([prefers("A")]) as stub:
        verdicts = list(make_judge(stub, key_variable="MY_KEY").judge(PAIRS))
    assert set(stub.keys) == {f"Bearer {key}"}
    with serve(answer) as stub, pytest.raises(JudgeError) as error:
        list(make_judge(stub, key_variable="MY_KEY").judge(PAIRS))
    assert "does not accept the key in MY_KEY (401: Incorrect API key provided: ***)" in str(error.value)
    assert error.value.__suppress_context__
    cache.close()
    files = b"".join(path.read_bytes() for path in tmp_path.iterdir())
    said_aloud = repr(verdicts) + caplog.text + "".join(capsys.readouterr())
    assert key.encode() not in files
    assert key not in said_aloud


def test_openais_key_is_not_sent_to_another_server_unasked(make_judge, monkeypatch):
    monkeypatch.setenv("OPENAI_API_KEY", "sk-for-openai")
    with serve([prefers("A")]) as stub:
        list(make_judge(stub).judge(PAIRS))
    assert not any("sk-for-openai" in key for key in stub.keys)


# Cache, budget


def test_a_question_that_was_answered_is_not_asked_again(make_judge):
    with serve([prefers("A")]) as stub:
        first = sorted(make_judge(stub).judge(PAIRS), key=str)
        calls = stub.calls
        again = sorted(make_judge(stub).judge(PAIRS), key=str)
        assert make_judge(stub).forecast(PAIRS).cached == 8
    assert calls == 8
    assert stub.calls == calls
    assert again == first


@pytest.mark.parametrize("change", [{"temperature": 1.0}, {"max_tokens": 7}])
def test_another_question_is_asked(make_judge, change):
    with serve([prefers("A")]) as stub:
        list(make_judge(stub).judge(PAIRS))
        list(make_judge(stub, **change).judge(PAIRS))
    assert stub.calls == 16


def test_what_is_kept_is_the_raw_reply_which_is_read_anew(make_judge, monkeypatch):
    with serve([said("I say A.")]) as stub:
        list(make_judge(stub).judge(PAIRS))
        calls = stub.calls
        monkeypatch.setattr(
            "lightning_marlhf.evaluation.judges.language_model.read_preference",
            lambda text, shown: "first" if text == "I say A." else None,
        )
        verdicts = list(make_judge(stub, offline=True).judge(PAIRS))
    assert stub.calls == calls
    assert Counter(v.winner for v in verdicts) == {"a": 4, "b": 4}


def test_offline_nothing_is_sent(make_judge):
    with serve([prefers("A")]) as stub:
        list(make_judge(stub).judge(PAIRS[:1]))
        verdicts = list(make_judge(stub, offline=True).judge(PAIRS))
    assert stub.calls == 2
    assert {v.pair_id for v in verdicts} == {"0-0"}


def test_calls_stop_before_the_limit_is_passed_and_go_on_later(make_judge):
    with serve([prefers("A")]) as stub:
        found = []
        with pytest.raises(BudgetSpent, match="--max-calls 3"):
            found.extend(make_judge(stub, budget=Budget(max_calls=3)).judge(PAIRS))
        assert stub.calls == 3
        assert len(list(make_judge(stub).judge(PAIRS))) == 8
    assert stub.calls == 8


def test_every_verdict_that_was_paid_for_is_given_before_the_stop(make_judge):
    found = []
    with serve([prefers("A")]) as stub:
        judge = make_judge(stub, budget=Budget(max_calls=5), concurrency=4)
        with pytest.raises(BudgetSpent):
            found.extend(judge.judge(PAIRS))
    assert len(found) == 5


def test_a_repair_counts_as_a_call_and_is_made_up_for_later(make_judge):
    with serve([said("hm"), prefers("A")]) as stub:
        with pytest.raises(BudgetSpent):
            list(make_judge(stub, orders="one", budget=Budget(max_calls=1)).judge(PAIRS[:1]))
        verdict = only(make_judge(stub, orders="one").judge(PAIRS[:1]))
    assert verdict.winner == verdict.order[0]
    assert stub.calls == 2


def test_dollars_are_counted_by_usage_and_stop_before_the_limit(make_judge):
    # a request has 260 tokens, by its length, and could have 1,000 in its reply, at a dollar each: 1,260 dollars; it
    # takes 100 + 10, so 110: one fits into 1,300, and after it 1,190 are left, too few
    price = Price(1e6, 1e6)
    with serve([prefers("A")]) as stub:
        budget = Budget(max_usd=1300, price=price)
        with pytest.raises(BudgetSpent, match=r"110\.0000 dollars are spent"):
            list(make_judge(stub, budget=budget, max_tokens=1000, concurrency=1).judge(PAIRS))
    assert stub.calls == 1
    assert budget.usd == 110


def test_a_server_that_counts_no_tokens_is_charged_by_length(make_judge):
    status, body = prefers("A")
    del body["usage"]
    with serve([(status, body)]) as stub:
        budget = Budget(price=Price(1, 1))
        list(make_judge(stub, budget=budget, orders="one").judge(PAIRS[:1]))
    length = len(stub.requests[0]["messages"][0]["content"])
    assert budget.tokens["prompt_tokens"] == pytest.approx(length / 4, abs=1)
    reply = json.dumps({"comparison": "It is.", "preferred": "A"})
    assert budget.tokens["completion_tokens"] == pytest.approx(len(reply) / 4, abs=1)


def test_a_forecast_counts_without_sending(make_judge):
    pairs = [*PAIRS, Pair("9-0", "p", "same", "same")]
    with serve([prefers("A")]) as stub:
        list(make_judge(stub).judge(PAIRS[:1]))
        calls = stub.calls
        found = make_judge(stub, max_tokens=50).forecast(pairs)
        assert (found.calls, found.cached, found.identical) == (8, 0, 2)  # other settings
        found = make_judge(stub).forecast(pairs)
        assert (found.calls, found.cached, found.identical) == (6, 2, 2)
        assert stub.calls == calls
    assert found.completion_tokens == 6 * 512
    assert found.prompt_tokens > 6 * 100

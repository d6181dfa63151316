import codecs
import io
import json

import pytest
from transformers import (
    AutoModelForCausalLM,
    AutoTokenizer,
    GenerationConfig,
    PreTrainedModel,
    PreTrainedTokenizerBase,
)

from lightning_marlhf.commands import generate, grade
from lightning_marlhf.files import read_jsonl, write_json
from lightning_marlhf.inference.prompts import read_prompts
from lightning_marlhf.models.hf_export import export
from lightning_marlhf.records import append_jsonl, read_completions
from tests.published import END, EOS, GEMMA_TEMPLATE, publish


@pytest.fixture
def run_dir(tmp_path, make_lm, tokenizer: PreTrainedTokenizerBase):
    model: PreTrainedModel = make_lm("gemma")
    export(model, tokenizer, tmp_path / "run/export", card={})
    return tmp_path / "run"


@pytest.fixture
def published(tmp_path):
    return publish(tmp_path / "published")


def answers(capsys, *arguments) -> list[dict]:
    assert generate.main(["generate", *map(str, arguments), "--json", "--max-new-tokens", "6"]) == 0
    return [json.loads(line) for line in capsys.readouterr().out.splitlines()]


def test_a_run_or_its_export_answers_each_prompt_as_often_as_asked(run_dir, capsys):
    rows = answers(capsys, run_dir, "abc", "hello there", "--num-samples", 2)
    assert [(row["prompt"], row["sample_id"]) for row in rows] == [
        ("abc", "0/0"),
        ("abc", "0/1"),
        ("hello there", "1/0"),
        ("hello there", "1/1"),
    ]
    assert rows[0]["response"] != rows[1]["response"]
    assert all(1 <= row["num_tokens"] <= 6 for row in rows)
    again = answers(capsys, run_dir / "export", "abc", "hello there", "--num-samples", 2)
    assert [row["response"] for row in again] == [row["response"] for row in rows]
    once = answers(capsys, run_dir, "abc", "hello there")
    assert [row["response"] for row in once] == [rows[0]["response"], rows[2]["response"]]


def test_the_seed_decides_whatever_the_batch(run_dir, capsys):
    prompts = ["abc", "hello there", "x"]
    together = answers(capsys, run_dir, *prompts)
    assert answers(capsys, run_dir, *prompts, "--batch-size", 1) == together
    assert answers(capsys, run_dir, *prompts, "--seed", 2) != together


def test_prompts_come_from_a_file_or_from_standard_input(run_dir, tmp_path, capsys, monkeypatch):
    (tmp_path / "p.txt").write_text("abc\n\nx\n")
    (tmp_path / "p.jsonl").write_text('{"prompt": "abc"}\n{"prompt": "x"}\n')
    rows = answers(capsys, run_dir, "abc", "x")
    assert answers(capsys, run_dir, "--file", tmp_path / "p.txt") == rows
    assert answers(capsys, run_dir, "--file", tmp_path / "p.jsonl") == rows
    monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(b"abc\nx\n")))
    assert answers(capsys, run_dir) == rows


def test_text_output_shows_the_prompt_only_where_there_are_several(run_dir, capsys):
    assert (
        generate.main(
            ["generate", str(run_dir), "abc", "--max-new-tokens", "2", "--temperature", "0"]
        )
        == 0
    )
    assert "> abc" not in capsys.readouterr().out
    assert generate.main(["generate", str(run_dir), "abc", "x", "--max-new-tokens", "2"]) == 0
    assert "> abc\n" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["nowhere/at/all", "abc"], "does not exist"),
        (["{run}", "abc", "--temperature", "-1"], "temperature: expected at least 0"),
        (["{run}", "abc", "--num-samples", "0"], "--num-samples: expected at least 1"),
        (["{run}", "--file", "missing.txt"], "No such file or directory: missing.txt"),
        (["{run}", "abc", "--file", "missing.txt"], "give one of them"),
    ],
)
def test_mistakes_are_one_line(run_dir, capsys, arguments, said):
    assert (
        generate.main(["generate", *(word.replace("{run}", str(run_dir)) for word in arguments)])
        == 1
    )
    error = capsys.readouterr().err
    assert said in error
    assert error.count("\n") == 1


def test_an_answer_ends_with_the_text_of_stop_and_the_file_goes_on_with_it(
    run_dir, tmp_path, capsys
):
    out = tmp_path / "answers.jsonl"
    (free,) = answers(capsys, run_dir, "abc")
    stop = free["response"][1:3]
    command = [str(run_dir), "abc", "--stop", stop, "--max-new-tokens", "6", "--out", str(out)]
    for _ in range(2):
        assert generate.main(["generate", *command]) == 0
    (row,) = read_completions(out)
    assert row.response == free["response"][: free["response"].index(stop) + 2]
    assert row.ended
    assert row.settings["stop"] == [stop]
    assert "stop" not in free["settings"]


def test_an_unfinished_run_points_to_its_checkpoint(tmp_path, capsys):
    (tmp_path / "checkpoints").mkdir()
    assert generate.main(["generate", str(tmp_path), "abc"]) == 1
    assert "has no export/ yet" in capsys.readouterr().err


def test_a_jsonl_without_prompts_is_named(run_dir, tmp_path, capsys):
    (tmp_path / "p.jsonl").write_text('{"text": "abc"}\n')
    assert generate.main(["generate", str(run_dir), "--file", str(tmp_path / "p.jsonl")]) == 1
    assert "p.jsonl: row 1: expected a `prompt` with a text\n" in capsys.readouterr().err


# --- published models


@pytest.mark.parametrize("kind", ["gemma", "gemma2"])
def test_a_published_folder_answers_greedily_as_transformers_does(kind, tmp_path, capsys):
    folder = publish(tmp_path / "published", kind)
    (row,) = answers(capsys, folder, "what is it?", "--format", "hh_rlhf", "--temperature", "0")
    tokenizer = AutoTokenizer.from_pretrained(folder)
    prompt = "\n\nHuman: what is it?\n\nAssistant:"
    inputs = tokenizer(prompt, return_tensors="pt")
    model = AutoModelForCausalLM.from_pretrained(folder)
    settings = GenerationConfig(max_new_tokens=6, do_sample=False, eos_token_id=EOS, pad_token_id=0)
    expected = model.generate(**inputs, generation_config=settings)[0].tolist()
    assert row["prompt"] == prompt
    assert row["prompt_ids"] + row["response_ids"] == expected
    width = inputs.input_ids.shape[1]
    assert row["response"] == tokenizer.decode(expected[width:], skip_special_tokens=True)


def test_a_chat_template_asks_with_one_bos_and_ends_with_the_turn(tmp_path, capsys):
    folder = publish(tmp_path / "chat", template=GEMMA_TEMPLATE)
    arguments = ("--format", "chat", "--num-samples", 60, "--max-new-tokens", "30")
    rows = answers(capsys, folder, "what is it?", *arguments)
    tokenizer = AutoTokenizer.from_pretrained(folder)
    asked = "<bos><start_of_turn>user\nwhat is it?<end_of_turn>\n<start_of_turn>model\n"
    assert tokenizer.decode(rows[0]["prompt_ids"]) == asked
    assert rows[0]["prompt"] == "what is it?"
    last = {row["response_ids"][-1] for row in rows if row["ended"]}
    assert last == {END, EOS}


TURNS = [
    {"role": "user", "content": "it"},
    {"role": "assistant", "content": "is"},
    {"role": "user", "content": "what?"},
]


@pytest.mark.parametrize(
    "row",
    [
        {"prompt": TURNS},
        {"messages": [*TURNS, {"role": "assistant", "content": "a cat."}]},
        {"conversations": [{"from": t["role"], "value": t["content"]} for t in TURNS]},
    ],
)
def test_messages_are_asked_in_the_model_s_template_and_kept(tmp_path, capsys, row):
    folder = publish(tmp_path / "chat", template=GEMMA_TEMPLATE)
    file = tmp_path / "rows.jsonl"
    file.write_text(json.dumps(row) + "\n")
    (answer,) = answers(capsys, folder, "--file", file, "--format", "chat")
    tokenizer = AutoTokenizer.from_pretrained(folder)
    expected = tokenizer.apply_chat_template(TURNS, add_generation_prompt=True, tokenize=False)
    assert tokenizer.decode(answer["prompt_ids"]) == expected
    assert answer["messages"] == TURNS
    assert answer["prompt"] == "Human: it\n\nAssistant: is\n\nHuman: what?\n\nAssistant:"
    assert generate.main(["generate", str(folder), "--file", str(file)]) == 1
    assert "row 1: expected a `prompt` with a text; --format chat" in capsys.readouterr().err


def test_dialogues_that_the_template_refuses_are_left_out_and_counted(tmp_path, capsys):
    folder = publish(tmp_path / "chat", template=GEMMA_TEMPLATE)
    file = tmp_path / "rows.jsonl"
    system = [{"role": "system", "content": "it is"}, *TURNS]
    rows = [{"prompt": "it"}, {"prompt": system}, {"prompt": [{"role": "user"}]}]
    file.write_text("".join(json.dumps(row) + "\n" for row in rows))
    arguments = ["--file", str(file), "--format", "chat", "--json", "--max-new-tokens", "2"]
    assert generate.main(["generate", str(folder), *arguments]) == 0
    out, error = capsys.readouterr()
    assert [json.loads(line)["sample_id"] for line in out.splitlines()] == ["0"]
    lines = error.splitlines()
    assert "rows left out: 1" in lines[0]
    assert "the first is 3" in lines[0]
    assert "answers left out: 1 (the first is 1)" in lines[1]
    assert "System role not supported" in lines[1]
    file.write_text(json.dumps(rows[1]) + "\n")
    assert generate.main(["generate", str(folder), *arguments]) == 1
    assert "no prompt is left" in capsys.readouterr().err


@pytest.mark.parametrize("pad", ["<eos>", None])
def test_a_model_whose_padding_looks_like_its_end_answers_in_any_batch(tmp_path, capsys, pad):
    folder = publish(tmp_path / "published", pad=pad)
    together = answers(capsys, folder, "it", "what is it?", "--dtype", "float32")
    alone = answers(capsys, folder, "it", "what is it?", "--batch-size", 1)
    assert [row["response_ids"] for row in together] == [row["response_ids"] for row in alone]


# --- files


def test_rows_of_a_data_set_are_prompts_in_its_format(published, tmp_path, capsys):
    info = {"post": "it is", "subreddit": "cats", "article": None}
    row = {"info": info, "summaries": [{"text": " a"}, {"text": " b"}], "choice": 0}
    empty = {**row, "info": {**info, "post": " "}}
    file = tmp_path / "rows.jsonl"
    file.write_text("".join(json.dumps(each) + "\n" for each in (empty, row)))
    arguments = ["generate", str(published), "--file", str(file), "--max-new-tokens", "1"]
    assert generate.main([*arguments, "--format", "tldr", "--json"]) == 0
    out, error = capsys.readouterr()
    assert json.loads(out)["prompt"] == "POST\nSubreddit: r/cats\nit is\nTL;DR: "
    assert json.loads(out)["sample_id"] == "1"
    assert error == f"{file}: rows left out: 1 (empty prompt; the first is 1)\n"
    assert generate.main(arguments) == 1
    assert "row 1: expected a `prompt` with a text; --format tldr" in capsys.readouterr().err


def test_a_row_keeps_its_name_and_reference(published, tmp_path, capsys):
    file = tmp_path / "rows.jsonl"
    row = {"prompt": "it", "sample_id": "valid-7", "reference": {"best": "cat"}}
    file.write_text(json.dumps(row) + "\n")
    (answer,) = answers(capsys, published, "--file", file)
    assert {key: answer[key] for key in row} == row
    file.write_text((json.dumps(row) + "\n") * 2)
    assert generate.main(["generate", str(published), "--file", str(file)]) == 1
    assert "expected different `sample_id`s, got valid-7 twice" in capsys.readouterr().err


def run_into(out, published, *more):
    arguments = [str(published), "it", "is", "a", "cat", "--max-new-tokens", "4", "--batch-size"]
    return generate.main(["generate", *arguments, "1", "--out", str(out), *more])


def test_a_file_of_completions_says_how_they_were_made(run_dir, tmp_path, capsys):
    write_json(run_dir / "done.json", {"step": 40})
    assert run_into(tmp_path / "c.jsonl", run_dir, "--top-k", "9") == 0
    assert capsys.readouterr().out == f"{tmp_path / 'c.jsonl'}: 4 answers of {run_dir}\n"
    rows = read_completions(tmp_path / "c.jsonl")
    assert [row.prompt for row in rows] == ["it", "is", "a", "cat"]
    assert (rows[0].model, rows[0].seed, rows[0].step) == (str(run_dir), 1, 40)
    sampling = {"max_new_tokens": 4, "temperature": 1.0, "top_k": 9, "top_p": 1.0}
    assert rows[0].settings == {**sampling, "format": "text", "dtype": "float32"}
    assert rows[0].num_tokens == len(rows[0].response_ids)


def test_an_interrupted_run_keeps_what_it_made_and_goes_on(
    published, tmp_path, capsys, monkeypatch
):
    assert run_into(tmp_path / "whole.jsonl", published) == 0
    out, written = tmp_path / "c.jsonl", []

    def append_twice(path, rows):
        if len(written) == 2:
            raise KeyboardInterrupt
        written.extend(rows)
        append_jsonl(path, rows)

    with monkeypatch.context() as patch:
        patch.setattr(generate, "append_jsonl", append_twice)
        assert run_into(out, published) == 130
    assert "c.jsonl lacks 2 answers; the same command makes them" in capsys.readouterr().err
    with out.open("a") as file:
        file.write('{"sample_id": "2", "pro')  # as a process that is killed leaves it
    assert run_into(out, published) == 0
    assert out.read_text() == (tmp_path / "whole.jsonl").read_text()
    assert run_into(out, published) == 0
    assert "all answers are there" in capsys.readouterr().out


def test_a_file_of_other_completions_is_not_added_to_unasked(published, tmp_path, capsys):
    out = tmp_path / "c.jsonl"
    assert run_into(out, published) == 0
    before = out.read_text()
    for other in (["--seed", "2"], ["--temperature", "0"], ["--format", "webgpt"]):
        assert run_into(out, published, *other) == 1
        assert "holds other completions" in capsys.readouterr().err
        assert out.read_text() == before
    assert run_into(out, published, "--seed", "2", "--overwrite") == 0
    assert {row.seed for row in read_completions(out)} == {2}


def test_prompts_that_the_model_has_no_room_for_are_left_out_and_counted(published, capsys):
    arguments = ["generate", str(published), "it", "x" * 130, "--max-new-tokens", "8", "--json"]
    assert generate.main(arguments) == 0
    out, error = capsys.readouterr()
    assert [json.loads(line)["prompt"] for line in out.splitlines()] == ["it"]
    assert error.startswith("answers left out, as their prompts are too long: 1 (the first is 1): ")
    assert error.endswith("has room for 128 tokens, --max-new-tokens 8 among them\n")
    assert generate.main(["generate", str(published), "x" * 130, "--max-new-tokens", "8"]) == 1
    assert "no prompt is left that fits" in capsys.readouterr().err


def test_an_older_file_is_kept_until_there_is_something_to_replace_it(tmp_path, capsys):
    (tmp_path / "c.jsonl").write_text("precious")
    assert run_into(tmp_path / "c.jsonl", tmp_path / "nowhere", "--overwrite") == 1
    assert (tmp_path / "c.jsonl").read_text() == "precious"


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ("", "no prompts in"),
        ("{", "p.jsonl: row 1: not JSON"),
        ('{"prompt": " "}', "row 1: expected a `prompt` with a text"),
        ('{"prompt": "a"}\n\n{"prompt": 1}', "row 2: expected a `prompt` with a text"),
    ],
)
def test_a_file_without_prompts_is_one_line(published, tmp_path, capsys, content, said):
    (tmp_path / "p.jsonl").write_text(content)
    assert generate.main(["generate", str(published), "--file", str(tmp_path / "p.jsonl")]) == 1
    error = capsys.readouterr().err
    assert said in error
    assert error.count("\n") == 1


def test_a_missing_checkpoint_or_template_is_one_line(published, capsys):
    assert generate.main(["generate", "runs/x/checkpoints/last.ckpt", "abc"]) == 1
    assert capsys.readouterr().err == "error: no checkpoint runs/x/checkpoints/last.ckpt\n"
    assert generate.main(["generate", str(published), "abc", "--format", "chat"]) == 1
    assert "has no chat template" in capsys.readouterr().err


def test_answers_to_problems_keep_what_grade_needs(run_dir, tmp_path, capsys):
    tests = json.dumps({"inputs": ["1\n"], "outputs": ["2\n"]})
    problem = {
        "problem_id": 7,
        "question": "Double.",
        "starter_code": "",
        "difficulty": "interview",
    }
    problems, out = tmp_path / "p.jsonl", tmp_path / "c.jsonl"
    problems.write_text(json.dumps({**problem, "solutions": "", "input_output": tests}) + "\n")
    arguments = ["--file", problems, "--format", "apps", "--max-new-tokens", 3, "--num-samples", 2]
    assert generate.main(["generate", *map(str, [run_dir, *arguments, "--out", out])]) == 0
    for row in read_completions(out):
        expected = {"problem_id": 7, "difficulty": "interview", "input_output": tests}
        assert row.reference == expected
    graded = tmp_path / "g.jsonl"
    arguments = ["--problems", problems, "--completions", out, "--out", graded, "--cpu-s", 0.5]
    assert grade.main(["grade", *map(str, arguments)]) == 0
    assert [row["problem_id"] for row in read_jsonl(graded)] == [7, 7]


ODD = ["how do I boil\u2028an egg?", "the cat\u0085sat", "page one\x0cpage two", "a\x0btab"]


@pytest.mark.parametrize("mark", [b"", codecs.BOM_UTF8])
def test_a_prompt_a_line_is_one_line_whatever_it_holds(tmp_path, monkeypatch, mark):
    content = mark + "\n".join(ODD).encode()
    (tmp_path / "p.txt").write_bytes(content)
    monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(content)))
    for file in (tmp_path / "p.txt", None):
        assert [prompt.text for prompt in read_prompts([], file, "text")] == ODD


@pytest.mark.parametrize("name", ["p.txt", "p.jsonl"])
@pytest.mark.parametrize("encoding", ["latin-1", "utf-16"])
def test_prompts_that_are_not_utf_8_are_told_by_file_and_row(tmp_path, name, encoding):
    (tmp_path / name).write_text('{"prompt": "caf\u00e9"}\n', encoding=encoding)
    with pytest.raises(ValueError, match=f"{name}: row 1: expected text in UTF-8"):
        read_prompts([], tmp_path / name, "text")


def test_a_typed_prompt_that_is_not_utf_8_is_told_by_its_number():
    with pytest.raises(ValueError, match="prompt 2: expected text in UTF-8"):
        read_prompts(["a", "caf\udce9"], None, "text")


@pytest.mark.parametrize("options", [(), ("--json",)])
def test_a_prompt_and_its_answer_steer_no_terminal(run_dir, capsys, options):
    arguments = [run_dir, "a\x1b[2J\x9b2J", "b", "--max-new-tokens", 2, *options]
    assert generate.main(["generate", *map(str, arguments)]) == 0
    shown = capsys.readouterr().out
    assert not {"\x1b", "\x9b"} & set(shown)
    assert "[2J" in shown

import json

import pytest
from transformers import AutoModelForCausalLM, AutoTokenizer, GenerationConfig

from lightning_marlhf.commands import generate, grade
from lightning_marlhf.files import read_jsonl, write_json
from lightning_marlhf.inference import completions
from lightning_marlhf.models.hf_export import export
from lightning_marlhf.records import append_jsonl, read_completions
from tests.commands.one_line import error_line
from tests.published import END, EOS, GEMMA_TEMPLATE, publish


@pytest.fixture(scope="module")
def run_dir(tmp_path_factory, make_lm, tokenizer):
    folder = tmp_path_factory.mktemp("models") / "run"
    export(make_lm("gemma"), tokenizer, folder / "export", card={})
    write_json(folder / "done.json", {"step": 40})
    return folder


@pytest.fixture(scope="module")
def published(tmp_path_factory):
    return publish(tmp_path_factory.mktemp("models") / "published")


@pytest.fixture(scope="module")
def chat_model(tmp_path_factory):
    return publish(tmp_path_factory.mktemp("models") / "chat", template=GEMMA_TEMPLATE)


def responses(capsys, *arguments) -> list[dict]:
    assert generate.main(["generate", *map(str, arguments), "--json", "--max-new-tokens", "6"]) == 0
    return [json.loads(line) for line in capsys.readouterr().out.splitlines()]


def test_a_run_or_its_export_gives_each_prompt_as_many_responses_as_asked(run_dir, capsys):
    rows = responses(capsys, run_dir, "abc", "hello there", "--num-samples", 2)
    assert [(row["prompt"], row["sample_id"]) for row in rows] == [
        ("abc", "0/0"),
        ("abc", "0/1"),
        ("hello there", "1/0"),
        ("hello there", "1/1"),
    ]
    assert rows[0]["response"] != rows[1]["response"]
    assert all(1 <= row["num_tokens"] <= 6 for row in rows)
    again = responses(capsys, run_dir / "export", "abc", "hello there", "--num-samples", 2)
    assert [row["response"] for row in again] == [row["response"] for row in rows]
    once = responses(capsys, run_dir, "abc", "hello there")
    assert [row["response"] for row in once] == [rows[0]["response"], rows[2]["response"]]


def test_the_seed_decides_whatever_the_batch(run_dir, capsys):
    prompts = ["abc", "hello there", "x"]
    together = responses(capsys, run_dir, *prompts)
    assert responses(capsys, run_dir, *prompts, "--batch-size", 1) == together
    assert responses(capsys, run_dir, *prompts, "--seed", 2) != together


def test_text_output_shows_the_prompt_only_where_there_are_several(run_dir, capsys):
    assert generate.main(["generate", str(run_dir), "abc", "--max-new-tokens", "2", "--temperature", "0"]) == 0
    assert "> abc" not in capsys.readouterr().out
    assert generate.main(["generate", str(run_dir), "abc", "x", "--max-new-tokens", "2"]) == 0
    assert "> abc\n" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("arguments", "status", "said"),
    [
        (["nowhere/at/all", "abc"], 1, "does not exist"),
        (["runs/x/checkpoints/last.ckpt", "abc"], 1, "no checkpoint runs/x/checkpoints/last.ckpt"),
        (["{unfinished}", "abc"], 1, "has no export/ yet"),
        (["{run}", "abc", "--format", "chat"], 1, "has no chat template"),
        (["{run}", "--prompts", "missing.txt"], 1, "No such file or directory: missing.txt"),
        (["{run}", "abc", "--prompts", "missing.txt"], 1, "expected one of them"),
        (["{run}", "abc", "--stop", ""], 1, "stop"),
        (["{run}", "abc", "--temperature", "-1"], 2, "--temperature: expected at least 0"),
        (["{run}", "abc", "--temperature", "nan"], 2, "--temperature"),
        (["{run}", "abc", "--top-p", "0"], 2, "--top-p: expected more than 0"),
        (["{run}", "abc", "--num-samples", "0"], 2, "--num-samples: expected at least 1"),
        (["{run}", "abc", "--batch-size", "x"], 2, "--batch-size"),
        (["{run}", "abc", "--dtype", "float64"], 2, "--dtype"),
        (["{run}", "abc", "--format", "tldrr"], 2, "--format"),
        (["{run}", "abc", "--no-such-option", "1"], 2, "--no-such-option: no such option"),
        ([], 2, "model"),
    ],
)
def test_mistakes_are_one_line(run_dir, tmp_path, capsys, arguments, status, said):
    (tmp_path / "unfinished/checkpoints").mkdir(parents=True)
    folders = {"{run}": str(run_dir), "{unfinished}": str(tmp_path / "unfinished")}
    assert generate.main(["generate", *(folders.get(word, word) for word in arguments)]) == status
    assert said in error_line(capsys)


def test_a_response_ends_with_the_stop_string_and_its_file_is_resumed(run_dir, tmp_path, capsys):
    out = tmp_path / "responses.jsonl"
    (free,) = responses(capsys, run_dir, "abc")
    stop = free["response"][1:3]
    command = [str(run_dir), "abc", "--stop", stop, "--max-new-tokens", "6", "--out", str(out)]
    for _ in range(2):
        assert generate.main(["generate", *command]) == 0
    (row,) = read_completions(out)
    assert row.response == free["response"][: free["response"].index(stop) + 2]
    assert row.ended
    assert row.settings["stop"] == [stop]
    assert "stop" not in free["settings"]


# --- published models


@pytest.mark.parametrize("kind", ["gemma", "gemma2"])
def test_a_published_folder_decodes_greedily_as_transformers_does(kind, tmp_path, capsys):
    folder = publish(tmp_path / "published", kind)
    (row,) = responses(capsys, folder, "what is it?", "--format", "hh_rlhf", "--temperature", "0")
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


def test_a_chat_template_asks_with_one_bos_and_ends_with_the_turn(chat_model, capsys):
    arguments = ("--format", "chat", "--num-samples", 60, "--max-new-tokens", "30")
    rows = responses(capsys, chat_model, "what is it?", *arguments)
    tokenizer = AutoTokenizer.from_pretrained(chat_model)
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
def test_messages_are_rendered_by_the_model_s_template_and_kept(chat_model, tmp_path, capsys, row):
    file = tmp_path / "rows.jsonl"
    file.write_text(json.dumps(row) + "\n")
    (response,) = responses(capsys, chat_model, "--prompts", file, "--format", "chat")
    tokenizer = AutoTokenizer.from_pretrained(chat_model)
    expected = tokenizer.apply_chat_template(TURNS, add_generation_prompt=True, tokenize=False)
    assert tokenizer.decode(response["prompt_ids"]) == expected
    assert response["messages"] == TURNS
    assert response["prompt"] == "Human: it\n\nAssistant: is\n\nHuman: what?\n\nAssistant:"
    assert generate.main(["generate", str(chat_model), "--prompts", str(file)]) == 1
    assert "row 1: expected a `prompt` with a text; --format chat" in capsys.readouterr().err


def test_dialogues_that_the_template_refuses_are_left_out_and_counted(chat_model, tmp_path, capsys):
    file = tmp_path / "rows.jsonl"
    system = [{"role": "system", "content": "it is"}, *TURNS]
    rows = [{"prompt": "it"}, {"prompt": system}, {"prompt": [{"role": "user"}]}]
    file.write_text("".join(json.dumps(row) + "\n" for row in rows))
    arguments = ["--prompts", str(file), "--format", "chat", "--json", "--max-new-tokens", "2"]
    assert generate.main(["generate", str(chat_model), *arguments]) == 0
    out, error = capsys.readouterr()
    assert [json.loads(line)["sample_id"] for line in out.splitlines()] == ["0"]
    of_file, of_template = error.splitlines()
    assert "rows left out: 1" in of_file
    assert "responses left out: 1 (the first is 1)" in of_template
    assert "System role not supported" in of_template
    file.write_text(json.dumps(rows[1]) + "\n")
    assert generate.main(["generate", str(chat_model), *arguments]) == 1
    assert "no prompt is left" in capsys.readouterr().err


@pytest.mark.parametrize("pad", ["<eos>", None])
def test_a_model_whose_padding_looks_like_its_end_responds_alike_in_any_batch(tmp_path, capsys, pad):
    folder = publish(tmp_path / "published", pad=pad)
    together = responses(capsys, folder, "it", "what is it?", "--dtype", "float32")
    alone = responses(capsys, folder, "it", "what is it?", "--batch-size", 1)
    assert [row["response_ids"] for row in together] == [row["response_ids"] for row in alone]


# --- files


def run_into(out, published, *more):
    arguments = [str(published), "it", "is", "a", "cat", "--max-new-tokens", "4", "--batch-size"]
    return generate.main(["generate", *arguments, "1", "--out", str(out), *more])


def test_a_file_of_completions_says_how_they_were_made(run_dir, tmp_path, capsys):
    assert run_into(tmp_path / "c.jsonl", run_dir, "--top-k", "9") == 0
    assert capsys.readouterr().out == f"{tmp_path / 'c.jsonl'}: 4 responses of {run_dir}\n"
    rows = read_completions(tmp_path / "c.jsonl")
    assert [row.prompt for row in rows] == ["it", "is", "a", "cat"]
    assert (rows[0].model, rows[0].seed, rows[0].step) == (str(run_dir), 1, 40)
    sampling = {"max_new_tokens": 4, "temperature": 1.0, "top_k": 9, "top_p": 1.0}
    assert rows[0].settings == {**sampling, "format": "text", "dtype": "float32"}
    assert rows[0].num_tokens == len(rows[0].response_ids)


def test_an_interrupted_run_keeps_what_it_made_and_is_resumed(published, tmp_path, capsys, monkeypatch):
    assert run_into(tmp_path / "whole.jsonl", published) == 0
    out, written = tmp_path / "c.jsonl", []

    def append_twice(path, rows):
        if len(written) == 2:
            raise KeyboardInterrupt
        written.extend(rows)
        append_jsonl(path, rows)

    with monkeypatch.context() as patch:
        patch.setattr(completions, "append_jsonl", append_twice)
        assert run_into(out, published) == 130
    assert "resume with:" in capsys.readouterr().err
    with out.open("a") as file:
        file.write('{"sample_id": "2", "pro')  # as a process that is killed leaves it
    assert run_into(out, published) == 0
    assert out.read_text() == (tmp_path / "whole.jsonl").read_text()
    assert run_into(out, published) == 0
    assert "all responses exist" in capsys.readouterr().out


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
    assert error.startswith("responses left out: 1 (the first is 1): the prompt is too long")
    assert error.count("\n") == 1
    assert generate.main(["generate", str(published), "x" * 130, "--max-new-tokens", "8"]) == 1
    assert "no prompt is left" in capsys.readouterr().err


def test_an_older_file_is_kept_until_there_is_something_to_replace_it(tmp_path, capsys):
    (tmp_path / "c.jsonl").write_text("precious")
    assert run_into(tmp_path / "c.jsonl", tmp_path / "nowhere", "--overwrite") == 1
    assert (tmp_path / "c.jsonl").read_text() == "precious"


def test_responses_to_problems_keep_what_grade_needs(run_dir, tmp_path, capsys):
    tests = json.dumps({"inputs": ["1\n"], "outputs": ["2\n"]})
    problem = {"problem_id": 7, "question": "Double.", "starter_code": "", "difficulty": "interview"}
    problems, out = tmp_path / "p.jsonl", tmp_path / "c.jsonl"
    problems.write_text(json.dumps({**problem, "solutions": "", "input_output": tests}) + "\n")
    arguments = ["--prompts", problems, "--format", "apps", "--max-new-tokens", 3, "--num-samples", 2]
    assert generate.main(["generate", *map(str, [run_dir, *arguments, "--out", out])]) == 0
    for row in read_completions(out):
        expected = {"problem_id": 7, "difficulty": "interview", "input_output": tests}
        assert row.reference == expected
    graded = tmp_path / "g.jsonl"
    arguments = ["--problems", problems, "--completions", out, "--out", graded, "--cpu-s", 0.5]
    assert grade.main(["grade", *map(str, arguments)]) == 0
    assert [row["problem_id"] for row in read_jsonl(graded)] == [7, 7]


@pytest.mark.parametrize("options", [(), ("--json",)])
def test_a_prompt_and_its_response_steer_no_terminal(run_dir, capsys, options):
    arguments = [run_dir, "a\x1b[2J\x9b2J", "b", "--max-new-tokens", 2, *options]
    assert generate.main(["generate", *map(str, arguments)]) == 0
    shown = capsys.readouterr().out
    assert not {"\x1b", "\x9b"} & set(shown)
    assert "[2J" in shown

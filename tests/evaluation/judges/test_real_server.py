"""A judge at a real OpenAI-compatible server: `transformers serve`, with a model that is made here."""

import os
import socket
import subprocess
import sys
import time
import urllib.request
from contextlib import contextmanager
from pathlib import Path

import pytest
import torch
from tokenizers import Tokenizer, models, pre_tokenizers
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

from lightning_marlhf.evaluation.judges import JudgeError
from lightning_marlhf.evaluation.pairs import Pair
from lightning_marlhf.evaluation.win_rate import summarize

pytest.importorskip("openai")
pytest.importorskip("fastapi")

VERDICT = '{"preferred":"A"}'
WORDS = ["<unk>", "<eos>", "once", "again", "hm", VERDICT]
TEMPLATE = "{% for m in messages %}{{ m['content'] }} {% endfor %}{{ 'once' if messages | length == 1 else 'again' }}"


def answering(folder: Path, after: dict[str, str]) -> Path:
    """Make a model that says what follows a word: each is a direction, which the head turns into that of the next."""
    tokenizer = Tokenizer(models.WordLevel({w: i for i, w in enumerate(WORDS)}, "<unk>"))
    tokenizer.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    fast = PreTrainedTokenizerFast(tokenizer_object=tokenizer, unk_token="<unk>", eos_token="<eos>", pad_token="<eos>")
    fast.chat_template = TEMPLATE
    size = len(WORDS)
    config = LlamaConfig(
        vocab_size=size,
        hidden_size=8,
        intermediate_size=8,
        num_hidden_layers=1,
        num_attention_heads=1,
        max_position_embeddings=4096,
        tie_word_embeddings=False,
        eos_token_id=1,
        bos_token_id=None,
        pad_token_id=1,
    )
    model = LlamaForCausalLM(config)
    with torch.no_grad():
        model.model.embed_tokens.weight.copy_(torch.eye(size, 8))
        model.model.layers[0].self_attn.o_proj.weight.zero_()
        model.model.layers[0].mlp.down_proj.weight.zero_()
        model.lm_head.weight.zero_()
        for word, following in after.items():
            model.lm_head.weight[WORDS.index(following), WORDS.index(word)] = 10.0
    model.save_pretrained(folder)
    fast.save_pretrained(folder)
    return folder


@contextmanager
def served(folder: Path):
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = [sys.executable, "-m", "transformers.cli.transformers", "serve", str(folder)]
    options = ["--host", "127.0.0.1", "--port", str(port), "--device", "cpu"]
    with (folder / "log").open("w") as log:
        process = subprocess.Popen(
            [*command, *options],
            stdout=log,
            stderr=log,
            env={**os.environ, "HF_HUB_OFFLINE": "1", "NO_PROXY": "127.0.0.1"},
        )
        try:
            wait_until_healthy(process, port, folder / "log")
            yield f"http://127.0.0.1:{port}/v1"
        finally:
            process.terminate()
            process.wait(timeout=30)


def wait_until_healthy(process, port, log):
    while process.poll() is None:
        try:
            urllib.request.urlopen(f"http://127.0.0.1:{port}/health", timeout=5).close()
        except OSError:
            time.sleep(0.1)
        else:
            return
    raise AssertionError(f"the server ended: {log.read_text()}")


def test_a_served_model_judges_and_is_asked_again_where_it_could_not_be_read(tmp_path, make_judge):
    after = {"once": "hm", "hm": "<eos>", "again": VERDICT, VERDICT: "<eos>"}
    folder = answering(tmp_path / "model", after)
    pairs = [Pair(f"{n}-0", f"prompt {n}", "good", "bad") for n in range(2)]
    with served(folder) as url:
        judge = make_judge(url, model=str(folder), timeout_s=60.0, max_tokens=20)
        verdicts = list(judge.judge(pairs))
        with pytest.raises(JudgeError, match=r"does not take the request .*pinned to"):
            list(make_judge(url, model="another").judge(pairs))
    assert {verdict.raw for verdict in verdicts} == {VERDICT}
    # words of the reply and EOS, twice
    assert {verdict.usage["completion_tokens"] for verdict in verdicts} == {4}
    rate = summarize(verdicts, pairs)
    assert (rate.win_rate, rate.flip_rate, rate.first_position_rate) == (0.5, 1.0, 1.0)

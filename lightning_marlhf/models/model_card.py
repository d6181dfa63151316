"""The README.md of an exported model: front matter that the Hub reads, how to use it, and the run that made it."""

import json
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import yaml
from transformers import PretrainedConfig, PreTrainedModel

from lightning_marlhf.hub.reward_format import RewardInput

FILE = "README.md"
_HUB_ID = re.compile(r"[\w][\w.-]*/[\w][\w.-]*")
_FRONT = re.compile(r"---\n(.*?)\n---\n", re.DOTALL)
_INHERITED = ("base_model", "datasets", "license")

_GENERATE = """```python
from transformers import AutoModelForCausalLM, AutoTokenizer

name = "."  # this folder, or its id on the Hub
tokenizer = AutoTokenizer.from_pretrained(name)
model = AutoModelForCausalLM.from_pretrained(name)
inputs = tokenizer("a prompt as in training", return_tensors="pt")
print(tokenizer.decode(model.generate(**inputs, max_new_tokens=64)[0]))
```

Or `python -m lightning_marlhf generate NAME PROMPT`; `python -m lightning_marlhf chat NAME`."""

_SCORE = """```python
import torch
from transformers import AutoModelForSequenceClassification, AutoTokenizer

name = "."  # this folder, or its id on the Hub
tokenizer = AutoTokenizer.from_pretrained(name)
model = AutoModelForSequenceClassification.from_pretrained(name)
{ids}
print(model(torch.tensor([ids])).logits.item() - getattr(model.config, "reward_offset", 0.0))
```

Or `python -m lightning_marlhf score NAME PROMPT RESPONSE`."""

_APART = """response = tokenizer("response", add_special_tokens=False).input_ids
ids = [*tokenizer("prompt").input_ids, *response, tokenizer.eos_token_id]"""
_JOINED = """ids = tokenizer("prompt" + "response" + tokenizer.eos_token).input_ids"""
_CHAT = """turns = [{"role": "user", "content": "prompt"}, {"role": "assistant", "content": "response"}]
text = tokenizer.apply_chat_template(turns, tokenize=False).rstrip()
ids = tokenizer(text, add_special_tokens=False).input_ids"""


def model_card(model: PreTrainedModel, card: Mapping[str, Any]) -> str:
    """Write the model card: Markdown, below the front matter that the Hub reads.

    Args:
        model: what is exported.
        card: "title" and "description" open it; any other entry becomes a section: a mapping of numbers or words a
            table, a text of several lines or a nested mapping a code block. "configuration", a run's YAML, also says
            what the model was made of.
    """
    generates = model.can_generate()
    front = {
        "library_name": "transformers",
        "pipeline_tag": "text-generation" if generates else "text-classification",
        "tags": ["rlhf", "ma-rlhf"],
        **provenance(str(card.get("configuration", ""))),
    }
    title = str(card.get("title", f"{type(model).__name__}, trained with lightning_marlhf"))
    parts = [f"---\n{yaml.safe_dump(front, sort_keys=False)}---", f"# {title}"]
    if "description" in card:
        parts.append(str(card["description"]))
    parts.append(f"## How to use\n\n{_GENERATE if generates else _score(model.config)}")
    sections = {name: value for name, value in card.items() if name not in ("title", "description")}
    parts += [f"## {name.replace('_', ' ').capitalize()}\n\n{_body(value)}" for name, value in sections.items()]
    return "\n\n".join(parts) + "\n"


def _score(config: PretrainedConfig) -> str:
    """Return the usage snippet of a reward model, with its input format."""
    input_format = RewardInput.of(config)
    ids = _CHAT if input_format.chat_template else _JOINED if input_format.joined else _APART
    return _SCORE.replace("{ids}", ids)


def provenance(configuration: str) -> dict[str, Any]:
    """Return the front matter's base model, data sets and licence, as far as known.

    Args:
        configuration: a run's YAML. Hub ids are taken from it; of a local model that the run began with, what the
            front matter of its own card says.
    """
    config = _parse(configuration)
    found: dict[str, Any] = {}
    model = _arguments(config.get("model"))
    for source in (model.get("policy"), model.get("model")):
        if isinstance(source, str) and (Path(source) / FILE).is_file():
            found.update(_front_matter(Path(source) / FILE))
        elif _is_hub_id(source):
            found["base_model"] = source
    data = [source for source in _sources(config.get("data")) if _is_hub_id(source)]
    if data:
        found["datasets"] = list(dict.fromkeys([*found.get("datasets", []), *data]))
    return found


def _parse(text: str) -> Mapping[str, Any]:
    """Read YAML; empty if it is broken, as an export must not fail for its card."""
    try:
        parsed = yaml.safe_load(text)
    except yaml.YAMLError:
        return {}
    return parsed if isinstance(parsed, Mapping) else {}


def _sources(data: Any) -> Iterator[Any]:
    """Name the sources of a data set, or of all parts of a mixture."""
    arguments = _arguments(data)
    yield arguments.get("source")
    for part in arguments.get("parts") or ():
        yield from _sources(part)


def _arguments(section: Any) -> Mapping[str, Any]:
    """Return the ``init_args`` of a class in a configuration; empty if it has none."""
    arguments = section.get("init_args") if isinstance(section, Mapping) else None
    return arguments if isinstance(arguments, Mapping) else {}


def _is_hub_id(source: Any) -> bool:
    return isinstance(source, str) and bool(_HUB_ID.fullmatch(source)) and not Path(source).exists()


def _front_matter(path: Path) -> dict[str, Any]:
    match = _FRONT.match(path.read_text(encoding="utf-8"))
    front = _parse(match[1]) if match else {}
    return {key: front[key] for key in _INHERITED if key in front}


def _body(value: Any) -> str:
    if isinstance(value, Mapping) and not any(isinstance(entry, Mapping | list | tuple) for entry in value.values()):
        rows = [f"| {key} | {_cell(entry)} |" for key, entry in value.items()]
        return "\n".join(["| name | value |", "|---|---|", *rows])
    if isinstance(value, Mapping | list | tuple):
        return f"```json\n{json.dumps(value, indent=2, default=str)}\n```"
    text = str(value).strip()
    return f"```\n{text}\n```" if "\n" in text else text


def _cell(value: Any) -> str:
    text = f"{value:.5g}" if isinstance(value, float) else str(value)
    return text.replace("|", "\\|").replace("\n", " ")

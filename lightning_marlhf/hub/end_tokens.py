"""Which tokens end a response: EOS, a chat template's end of turn, and the ends that a model's settings name."""

from contextlib import suppress

from transformers import PreTrainedModel, PreTrainedTokenizerBase

from lightning_marlhf.hub.chat_template import RefusedDialogueError, render

_CONTENT = "response"


def end_tokens(tokenizer: PreTrainedTokenizerBase) -> list[int]:
    """Return the stop tokens: EOS first, then the chat template's end of turn, if any."""
    template_end = end_of_turn(tokenizer) if tokenizer.chat_template else None
    ends = (tokenizer.eos_token_id, template_end)
    return list(dict.fromkeys(end for end in ends if end is not None))


def end_of_turn(tokenizer: PreTrainedTokenizerBase) -> int | None:
    """Find the special token by which the template ends a response: Gemma's ``<end_of_turn>``; None if it has none.

    Instruction-tuned models end with it, which is not always their tokenizer's EOS, nor a special token with a name.
    """
    system = {"role": "system", "content": "rules"}
    turns = [{"role": "user", "content": "question"}, {"role": "assistant", "content": _CONTENT}]
    text = ""
    for dialogue in ([system, *turns], turns):  # some templates refuse a system's turn, some want it
        with suppress(RefusedDialogueError):
            text = render(tokenizer, dialogue)
    _, response, after = text.rpartition(_CONTENT)
    ids = tokenizer(after.lstrip(), add_special_tokens=False).input_ids if response else []
    return ids[0] if ids and ids[0] in tokenizer.added_tokens_decoder else None


def response_ends(lm: PreTrainedModel) -> list[int]:
    """List the stop tokens of a model: ``eos_token_id`` of the model's generation settings.

    Those of a model that was loaded here are the EOS of its tokenizer, all that its own settings name, and the end of a
    turn in its chat template.
    """
    ends = lm.generation_config.eos_token_id
    ends = ends if isinstance(ends, list | tuple) else [ends]
    return [end for end in ends if isinstance(end, int)]  # third-party files may hold strings

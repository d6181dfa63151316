"""Chat templates: a dialogue in a tokenizer's own format; and which special tokens are text, and which are added.

A rendered dialogue holds its special tokens, BOS among them, as text: tokenise it with ``add_special_tokens=False``.
"""

from collections.abc import Mapping, Sequence

from transformers import PreTrainedTokenizerBase

from lightning_marlhf.hub.sources import SourceError, first_line

_CONTENT = "response"


class RefusedDialogueError(SourceError):
    """A chat template cannot write a dialogue; another one it may."""


def render(
    tokenizer: PreTrainedTokenizerBase, turns: Sequence[Mapping[str, str]], *, response_follows: bool = False
) -> str:
    """Render a dialogue with the tokenizer's chat template.

    Args:
        tokenizer: A tokenizer with a chat template.
        turns: Each with ``role`` ("system", "user", "assistant") and ``content``.
        response_follows: End where the assistant is to speak.

    Raises:
        SourceError: there is no template.
        RefusedDialogueError: it refuses such a dialogue (a system turn, for some).
    """
    require_template(tokenizer)
    try:
        return tokenizer.apply_chat_template(  # type: ignore[no-any-return]
            list(turns), tokenize=False, add_generation_prompt=response_follows
        )
    except Exception as error:  # a template is a program, which may fail in any way
        raise RefusedDialogueError(
            f"the chat template of {tokenizer.name_or_path} refuses this dialogue: {first_line(error)}"
        ) from error


def render_response(tokenizer: PreTrainedTokenizerBase, turns: Sequence[Mapping[str, str]], response: str) -> str:
    """Return the template's rendering of a response, from the generation prompt to the end of the turn.

    An EOS is left out: it is added where texts become tokens.

    Args:
        tokenizer: A tokenizer with a chat template.
        turns: The prompt.
        response: The assistant's text.

    Raises:
        RefusedDialogueError: the template refuses the dialogue, or writes its beginning in another way when a response
            follows.
    """
    prompt = render(tokenizer, turns, response_follows=True)
    whole = render(tokenizer, [*turns, {"role": "assistant", "content": response}])
    if not whole.startswith(prompt):
        raise RefusedDialogueError("the chat template writes another prompt when a response follows")
    end = whole.removeprefix(prompt).rstrip()
    return end.removesuffix(tokenizer.eos_token or "") if response.strip() else ""


def require_template(tokenizer: PreTrainedTokenizerBase) -> None:
    """Refuse a tokenizer without a chat template."""
    if not tokenizer.chat_template:
        raise SourceError(
            f"the tokenizer of {tokenizer.name_or_path} has no chat template: "
            "give prompts in the format that the model was trained on"
        )

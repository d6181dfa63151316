"""`marlhf COMMAND ...`, or `python -m lightning_marlhf COMMAND ...`: runs a command, importing only what it needs."""

import importlib
import os
import sys
from collections.abc import Sequence

from lightning_marlhf import __version__
from lightning_marlhf.config import program_name

# command -> (module in lightning_marlhf.commands, one line of help)
COMMANDS = {
    "fit": ("run", "train the run of a YAML config; resume with --ckpt_path last"),
    "validate": ("run", "evaluate on the validation prompts"),
    "test": ("run", "evaluate on the test prompts and save the completions"),
    "predict": ("run", "run the predict loop"),
    "preview": ("preview", "show the training data: texts, tokens, loss masks, counts"),
    "plan": ("plan", "estimate the cost of a run: updates, memory per GPU, hours"),
    "reproduce": ("reproduce", "run all stages of a plan, and write its report"),
    "report": ("report", "compare any runs: curves, tables, samples, in one HTML file"),
    "generate": ("generate", "generate responses with a run, an export or a Hub model"),
    "score": ("score", "score completions, or one response, by a reward model"),
    "rm-score": ("rm_score", "compare policies by the reward-model scores of their responses"),
    "best-of-n": ("best_of_n", "expected score of best-of-N sampling, for many N and temperatures"),
    "grade": ("grade", "run the programs in completions on tests: verdicts, rewards, pass@k"),
    "win-rate": ("win_rate", "win rate of one file of responses against another, by judges"),
    "annotate": ("annotate", "collect human preferences on a web page, blinded"),
    "chat": ("chat", "chat with a model"),
    "inspect": ("inspect", "browse rollouts with coloured macro actions"),
    "export": ("export", "turn a checkpoint into a Hugging Face directory; publish it"),
}


def help_text() -> str:
    """Return the help text with all commands."""
    width = max(map(len, COMMANDS))
    commands = "\n".join(f"  {name:<{width}}  {line}" for name, (_, line) in COMMANDS.items())
    return (
        f"usage: {program_name()} COMMAND [options]\n\n"
        "RLHF with macro actions (MA-PPO) in PyTorch Lightning.\n\n"
        f"commands:\n{commands}\n\n"
        "options:\n"
        "  -h, --help  this text; COMMAND --help for a command's options\n"
        "  --version   the version\n"
    )


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command.

    Args:
        arguments: the command line after the program's name; None: `sys.argv[1:]`.

    Returns:
        The exit status: 0 done, 1 error, 2 usage error, 130 interrupted, 75
        preempted: requeue with --ckpt_path last.
    """
    if arguments is None and os.curdir not in sys.path:
        sys.path.insert(0, os.curdir)  # `marlhf` finds a user's classes where `python -m` does
    arguments = list(sys.argv[1:] if arguments is None else arguments)
    if not arguments or arguments[0] in ("-h", "--help"):
        sys.stdout.write(help_text())
        return 0 if arguments else 2
    if arguments[0] == "--version":
        sys.stdout.write(f"lightning_marlhf {__version__}\n")
        return 0
    if arguments[0] not in COMMANDS:
        return _unknown_command(arguments[0])
    return _run(arguments)


def _unknown_command(name: str) -> int:
    from lightning_marlhf.config.suggest import did_you_mean

    expected = f"expected one of: {', '.join(COMMANDS)}"
    sys.stderr.write(f"error: no command {name!r}{did_you_mean(name, COMMANDS)}; {expected}\n")
    return 2


def _run(arguments: list[str]) -> int:
    try:
        os.getcwd()
    except FileNotFoundError:  # libraries fail with obscure errors without one
        sys.stderr.write("error: the working directory was removed: change into another one\n")
        return 1
    try:
        module = importlib.import_module(f"lightning_marlhf.commands.{COMMANDS[arguments[0]][0]}")
        return int(module.main(arguments))
    except KeyboardInterrupt:
        sys.stderr.write("interrupted\n")
        return 130
    except BrokenPipeError:  # the reader is gone (`| head`)
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0


if __name__ == "__main__":
    sys.exit(main())

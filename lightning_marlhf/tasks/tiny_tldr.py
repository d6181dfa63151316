"""Tiny TL;DR: short posts to summarise, made by a seeded generator, with an exact gold score.

A post tells five facts (who, what they did, when, how the writer feels, what the writer asks) among distractor
sentences. A perfect summary states each fact once, one sentence each, and nothing else:
``my boss. lost the keys. on monday. i feel sad. should i leave?``

The gold score plays the human: +1 for each fact right, -1/2 for each sentence that is wrong, repeated or invented.
The demonstrations are noisy, as people's are: a policy that imitates them is far from the best score, and the order and
spelling of every character matter, so that assigning credit is the hard part.
"""

import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from random import Random

FACTS: Mapping[str, Sequence[str]] = {
    "who": ("boss", "wife", "uncle", "friend", "sister", "brother", "cousin", "teacher"),
    "did": (
        "lost the keys",
        "sold the car",
        "ate the cake",
        "broke a window",
        "hid the money",
        "read my mail",
        "burned the rice",
        "told a lie",
    ),
    "when": ("monday", "tuesday", "friday", "sunday", "easter", "monday night", "new year"),
    "feel": ("sad", "angry", "happy", "proud", "afraid", "tired"),
    "ask": ("leave", "call", "wait", "pay", "move", "forgive"),
}
DISTRACTORS = (
    "it rained a lot",
    "the bus was late",
    "we had soup",
    "the dog slept",
    "tv was on",
    "no one else knew",
    "i wore a hat",
)
PROMPT_SUFFIX = "\ntldr: "
BEST_SCORE = float(len(FACTS))
ALPHABET = "abcdefghijklmnopqrstuvwxyz .?:\n"

_SUMMARY_SENTENCE: Mapping[str, str] = {
    "who": "my {}.",
    "did": "{}.",
    "when": "on {}.",
    "feel": "i feel {}.",
    "ask": "should i {}?",
}
_FACT_OF_SENTENCE = {
    template.format(value)[:-1]: (fact, value)
    for fact, template in _SUMMARY_SENTENCE.items()
    for value in FACTS[fact]
}
_EVENTS = ("my {who} {did} on {when}.", "on {when} my {who} {did}.")
_FEELINGS = ("i feel {feel}.", "now i am {feel}.", "it makes me {feel}.")
_QUESTIONS = ("should i {ask}?", "do i {ask}?", "is it best to {ask}?")


@dataclass(frozen=True)
class Post:
    """A post and the facts that it tells."""

    text: str
    facts: Mapping[str, str]

    @property
    def prompt(self) -> str:
        """The text that the policy continues."""
        return self.text + PROMPT_SUFFIX


@dataclass(frozen=True)
class Noise:
    """How far a summary is from the perfect one: probabilities, each of its own accident."""

    drop: float = 0.0  # of a fact: not said
    replace: float = 0.0  # of a fact: another value in its place
    repeat: float = 0.0  # of a fact: said twice
    garble: float = 0.0  # of a fact: one letter of its sentence is wrong
    distract: float = 0.0  # of the summary: one distractor sentence is in it
    shuffle: float = 0.0  # of the summary: its sentences stand in another order


PERFECT = Noise()
DEMONSTRATION = Noise(drop=0.15, replace=0.3, distract=0.3)


def make_post(random: Random) -> Post:
    """Draw a post: one sentence each for the event, the feeling and the question, and a distractor."""
    facts = {fact: random.choice(values) for fact, values in FACTS.items()}
    sentences = [random.choice(forms).format(**facts) for forms in (_EVENTS, _FEELINGS, _QUESTIONS)]
    sentences.insert(random.randint(0, len(sentences)), f"{random.choice(DISTRACTORS)}.")
    return Post(" ".join(sentences), facts)


def longest_prompt() -> int:
    """Count the characters of the longest prompt there is."""
    longest = {fact: max(values, key=len) for fact, values in FACTS.items()}
    sentences = [
        max((form.format(**longest) for form in forms), key=len)
        for forms in (_EVENTS, _FEELINGS, _QUESTIONS)
    ]
    return len(" ".join([*sentences, max(DISTRACTORS, key=len) + "."]) + PROMPT_SUFFIX)


def longest_summary() -> int:
    """Count the characters of the longest summary that `summarise` writes, every fact repeated."""
    sentences = [
        _SUMMARY_SENTENCE[fact].format(max(values, key=len)) for fact, values in FACTS.items()
    ]
    return len(" ".join([*sentences, *sentences, max(DISTRACTORS, key=len) + "."]))


def summarise(facts: Mapping[str, str], *, noise: Noise, random: Random) -> str:
    """Write a summary of ``facts`` with some ``noise``; it may be empty."""
    sentences = []
    for fact, value in facts.items():
        if random.random() < noise.drop:
            continue
        if random.random() < noise.replace:
            value = random.choice([other for other in FACTS[fact] if other != value])  # noqa: PLW2901
        sentence = _SUMMARY_SENTENCE[fact].format(value)
        if random.random() < noise.garble:
            sentence = _garble(sentence, random)
        sentences.append(sentence)
        if random.random() < noise.repeat:
            sentences.append(sentence)
    if random.random() < noise.distract:
        sentences.insert(random.randint(0, len(sentences)), f"{random.choice(DISTRACTORS)}.")
    if random.random() < noise.shuffle:
        random.shuffle(sentences)
    return " ".join(sentences)


def gold_score(summary: str, facts: Mapping[str, str]) -> float:
    """Score a summary: facts right, minus half for each sentence that is wrong, repeated or invented.

    An unfinished last sentence counts as invented.

    >>> facts = {"who": "boss", "did": "told a lie", "when": "friday", "feel": "sad", "ask": "call"}
    >>> gold_score("my boss. told a lie. on friday. i feel sad. should i call?", facts)
    5.0
    >>> gold_score("my boss. my boss. on sunday. it rained a lot. i feel", facts)
    -1.0
    """
    said: set[str] = set()
    score = 0.0
    for sentence in re.split(r"[.?]", summary.strip(" .?")):
        fact, value = _FACT_OF_SENTENCE.get(sentence.strip(), (None, None))
        if fact is not None and facts[fact] == value and fact not in said:
            said.add(fact)
            score += 1.0
        elif sentence.strip():
            score -= 0.5
    return score


def preference_probability(first: float, second: float, *, temperature: float) -> float:
    """Bradley-Terry: how often a person whose gold scores these are prefers the first answer."""
    return 1.0 / (1.0 + math.exp(-(first - second) / temperature))


def draw_noise(random: Random) -> Noise:
    """Draw how noisy one answer of a preference pair is: from perfect to worse than a demonstration."""
    level = random.random()
    return Noise(
        drop=0.5 * level * random.random(),
        replace=0.6 * level * random.random(),
        repeat=0.2 * level * random.random(),
        garble=0.2 * level * random.random(),
        distract=0.6 * level,
        shuffle=0.1,
    )


def _garble(sentence: str, random: Random) -> str:
    position = random.randrange(len(sentence) - 1)
    letter = random.choice(ALPHABET[:26])
    return sentence[:position] + letter + sentence[position + 1 :]

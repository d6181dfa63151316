"""Tiny TL;DR: short posts to summarise, made by a seeded generator, with an exact gold score.

A post states five facts (who, what they did, when, how the writer feels, what the writer asks) among distractor
sentences. A perfect summary states each fact once, one sentence each, and nothing else:
``my boss. lost the keys. on monday. i feel sad. should i leave?``

The gold score replaces the human: +1 for each fact right, -1/2 for each sentence that is wrong, repeated or invented.
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
ALPHABET = "abcdefghijklmnopqrstuvwxyz .?:\n"

_SUMMARY_SENTENCE: Mapping[str, str] = {
    "who": "my {}.",
    "did": "{}.",
    "when": "on {}.",
    "feel": "i feel {}.",
    "ask": "should i {}?",
}
_FACT_OF_SENTENCE = {
    template.format(value)[:-1]: (fact, value) for fact, template in _SUMMARY_SENTENCE.items() for value in FACTS[fact]
}
_EVENTS = ("my {who} {did} on {when}.", "on {when} my {who} {did}.")
_FEELINGS = ("i feel {feel}.", "now i am {feel}.", "it makes me {feel}.")
_QUESTIONS = ("should i {ask}?", "do i {ask}?", "is it best to {ask}?")


def words() -> list[str]:
    """List every word and punctuation mark that a post or a summary can hold."""
    values = [value for values in FACTS.values() for value in values]
    forms = [*_EVENTS, *_FEELINGS, *_QUESTIONS, *_SUMMARY_SENTENCE.values()]
    text = " ".join([*values, *DISTRACTORS, *(re.sub(r"{\w+}", " ", form) for form in forms)])
    return sorted(set(re.findall(r"\w+|[^\w\s]", text + PROMPT_SUFFIX)))


@dataclass(frozen=True)
class Post:
    """A post and its facts."""

    text: str
    facts: Mapping[str, str]

    @property
    def prompt(self) -> str:
        """The text that the policy continues."""
        return self.text + PROMPT_SUFFIX


@dataclass(frozen=True)
class Noise:
    """Noise of a summary: probabilities of errors."""

    drop: float = 0.0  # a fact is omitted
    replace: float = 0.0  # a fact has another value
    repeat: float = 0.0  # a fact is repeated
    garble: float = 0.0  # one letter of a fact's sentence is wrong
    distract: float = 0.0  # a distractor sentence is in the summary


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
    sentences = [max((form.format(**longest) for form in forms), key=len) for forms in (_EVENTS, _FEELINGS, _QUESTIONS)]
    return len(" ".join([*sentences, max(DISTRACTORS, key=len) + "."]) + PROMPT_SUFFIX)


def longest_summary() -> int:
    """Count the characters of the longest summary that `summarise` writes, every fact repeated."""
    sentences = [_SUMMARY_SENTENCE[fact].format(max(values, key=len)) for fact, values in FACTS.items()]
    return len(" ".join([*sentences, *sentences, max(DISTRACTORS, key=len) + "."]))


def summarise(facts: Mapping[str, str], *, noise: Noise, random: Random) -> str:
    """Write a summary of ``facts`` with some ``noise``; it may be empty."""
    sentences = [_state(fact, value, noise, random) for fact, value in facts.items()]
    if random.random() < noise.distract:
        place = random.randint(0, len(sentences))
        sentences.insert(place, f"{random.choice(DISTRACTORS)}.")
    return " ".join(sentence for sentence in sentences if sentence)


def draw_noise(random: Random) -> Noise:
    """Draw how noisy one response of a preference pair is: from all facts right to all wrong."""
    return Noise(drop=0.1, replace=random.random(), repeat=0.05, garble=0.05, distract=0.2)


def gold_score(summary: str, facts: Mapping[str, str]) -> float:
    """Score a summary: facts right, minus half for each sentence that is wrong, repeated or invented.

    Marks only separate sentences: a last one without its mark counts, one cut off in a word is invented.

    >>> facts = {"who": "boss", "did": "told a lie", "when": "friday", "feel": "sad", "ask": "call"}
    >>> gold_score("my boss. told a lie. on friday. i feel sad. should i call?", facts)
    5.0
    >>> gold_score("my boss. my boss. on sunday. it rained a lot. i feel", facts)
    -1.0
    """
    stated: set[str] = set()
    score = 0.0
    for sentence in re.split(r"[.?]", summary.strip(" .?")):
        fact, value = _FACT_OF_SENTENCE.get(sentence.strip(), (None, None))
        if fact is not None and facts[fact] == value and fact not in stated:
            stated.add(fact)
            score += 1.0
        elif sentence.strip():
            score -= 0.5
    return score


def preference_probability(first: float, second: float, *, temperature: float) -> float:
    """Bradley-Terry: how often a person whose gold scores these are prefers the first response.

    >>> preference_probability(0.0, 2.0, temperature=1e-3)
    0.0
    """
    odds_against = (second - first) / temperature
    return 1.0 / (1.0 + math.exp(odds_against)) if odds_against < 700 else 0.0


def _state(fact: str, value: str, noise: Noise, random: Random) -> str:
    """Write the sentence of one fact; empty if it is dropped."""
    if random.random() < noise.drop:
        return ""
    if random.random() < noise.replace:
        value = random.choice([other for other in FACTS[fact] if other != value])
    sentence = _SUMMARY_SENTENCE[fact].format(value)
    if random.random() < noise.garble:
        sentence = _garble(sentence, random)
    return f"{sentence} {sentence}" if random.random() < noise.repeat else sentence


def _garble(sentence: str, random: Random) -> str:
    position = random.randrange(len(sentence) - 1)
    letter = random.choice(ALPHABET[:26].replace(sentence[position], ""))
    return sentence[:position] + letter + sentence[position + 1 :]

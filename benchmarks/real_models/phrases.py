"""Pairs of English sentences, the second a paraphrase of the first, put together from templates and words."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

# (a way to say it, another way): words below fill {who}, {thing}, {place} and {time}. Calibration and test share no
# templates and no words, so that fitting the words of one does not help with the other.
TEMPLATES: tuple[tuple[tuple[str, str], ...], ...] = (
    (
        ("{who} bought {thing} in {place} {time}.", "{time}, {thing} was purchased by {who} in {place}."),
        ("{who} is looking for {thing} near {place}.", "Close to {place}, {who} tries to find {thing}."),
        ("How much does {thing} cost in {place}?", "What is the price of {thing} in {place}?"),
        ("{who} could not repair {thing} {time}.", "{time}, {who} was unable to fix {thing}."),
        ("{thing} was stolen from {place} {time}.", "Someone took {thing} away from {place} {time}."),
        ("{who} wrote a long letter about {thing}.", "A lengthy message on {thing} came from {who}."),
        ("Nobody in {place} has seen {thing} {time}.", "{time}, {thing} was not noticed by anyone in {place}."),
        ("{who} enjoys talking about {thing}.", "{who} likes to chat about {thing}."),
    ),
    (
        ("{who} sold {thing} at {place} {time}.", "{time}, a buyer at {place} got {thing} from {who}."),
        ("Where can I rent {thing} around {place}?", "Which shop near {place} lends {thing} for money?"),
        ("{who} dropped {thing} and broke it.", "{thing} fell from the hands of {who} and is damaged."),
        ("{who} will present {thing} at {place}.", "At {place}, {thing} is going to be shown by {who}."),
        ("It is forbidden to carry {thing} into {place}.", "Nobody may bring {thing} to {place}."),
        ("{who} dreamed of {thing} {time}.", "{time}, {who} saw {thing} while sleeping."),
        ("{place} became famous because of {thing}.", "{thing} made {place} widely known."),
        ("{who} hid {thing} behind {place} {time}.", "{time}, {thing} was concealed by {who} in back of {place}."),
    ),
)
WORDS: tuple[dict[str, tuple[str, ...]], ...] = (
    {
        "who": (
            *("the teacher", "my neighbour", "a young doctor", "the mayor", "our gardener", "an old sailor", "Maria"),
            *("the football coach", "a famous painter", "the police officer", "her grandmother", "the pilot", "Thomas"),
        ),
        "thing": (
            *(
                "a red bicycle",
                "the broken clock",
                "an expensive violin",
                "fresh bread",
                "a wooden chair",
                "the camera",
            ),
            *(
                "a history book",
                "winter shoes",
                "the kitchen table",
                "green apples",
                "a laptop computer",
                "an umbrella",
            ),
            *("the gold ring", "a train ticket", "medicine for headaches", "the electric guitar", "a birthday cake"),
        ),
        "place": (
            *("Paris", "the village", "a small museum", "the railway station", "Japan", "the old harbour", "Chicago"),
            *("the university", "a mountain hotel", "the city library", "Brazil", "the supermarket"),
        ),
        "time": ("yesterday", "last summer", "on Monday", "in the morning", "two years ago", "during the holidays"),
    },
    {
        "who": (
            *("the engineer", "his cousin", "a tired nurse", "the president", "our landlord", "a retired soldier"),
            *("Elena", "the opera singer", "a clever thief", "the firefighter", "her uncle", "the chemist", "Robert"),
        ),
        "thing": (
            *("a silver necklace", "the microscope", "a heavy suitcase", "roasted coffee", "a leather sofa"),
            *(
                "the telescope",
                "a detective novel",
                "rubber gloves",
                "the garden fence",
                "ripe bananas",
                "a motorcycle",
            ),
            *("a flute", "the diamond", "a fishing boat", "chocolate ice cream", "the washing machine", "an oil lamp"),
        ),
        "place": (
            *("London", "the desert", "an ancient temple", "the airport", "Egypt", "the river bridge", "Toronto"),
            *("the hospital", "a crowded beach", "the theatre", "Norway", "the pharmacy"),
        ),
        "time": ("tonight", "last winter", "on Friday", "at noon", "a century ago", "after the storm"),
    },
)


def pairs(seed: int, count: int, vocabulary: Sequence[str]) -> list[tuple[str, str]]:
    """Different pairs. Odd and even seeds share no templates, and only articles and prepositions of the words. Half of
    the things are two words of the vocabulary: odd seeds draw from every second one, even seeds from the others.

    Raises ValueError if there are not so many.
    """
    templates, words, rare = TEMPLATES[seed % 2], WORDS[seed % 2], vocabulary[seed % 2 :: 2]
    rng = np.random.Generator(np.random.PCG64(seed))
    found: dict[tuple[str, str], None] = {}
    for _ in range(20 * count):
        if len(found) == count:
            break
        chosen = {part: str(rng.choice(options)) for part, options in words.items()}
        if rng.random() < 0.5:
            chosen["thing"] = f"the {rng.choice(rare)} {rng.choice(rare)}"
        one, other = (form.format(**chosen) for form in templates[rng.integers(len(templates))])
        found[one[0].upper() + one[1:], other[0].upper() + other[1:]] = None
    if len(found) < count:
        raise ValueError(f"the templates made {len(found)} different pairs, {count} were wanted")
    return list(found)

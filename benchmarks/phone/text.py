"""Words nobody has written: languages made of their sounds, with the frequencies of real speech.

A language has its own syllables, a vocabulary in which frequent words are short, fixed phrases, and Zipf's law over
all of them. Nothing is copied from a text; what counts for a backup is how much of a message was said before.
"""

from __future__ import annotations

import random
from dataclasses import dataclass
from functools import cache
from itertools import accumulate

WORDS = 9000
PHRASES = 2500

_SOUNDS = {
    "en": ("b c d f g h l m n p r s t w th sh ch st tr wh", "a e i o u a e i o ea ou ee", "n r s t l d ng ck st rd m"),
    "es": ("b c d f g l m n p r s t v ll ch qu tr pr", "a e o a e o i u ue ie", "s n r l d s n"),
    "de": ("b d f g h k l m n r s t w z sch st pf br kl", "a e i o u ei ie au ä ö ü", "n r t st ch g l nd rt ss"),
    "pt": ("b c d f g l m n p r s t v lh nh ch pr", "a e o i u ã ei ou ão", "s r m l"),
    "tr": ("b d g k l m n r s t v y z ç ş h", "a e ı i o ö u ü", "n r l k m z ş t"),
    "ru": ("б в г д ж з к л м н п р с т х ч ш ст пр", "а е и о у а е и о ы я ю", "н р т л м й в сь ть ст"),
    "hi": ("क ख ग च ज ट ड त द न प ब म य र ल व श स ह", "ा ि ी ु े ो ा ं", "न र ल त म क"),
    "ar": ("ب ت ج ح خ د ر ز س ش ص ط ع ف ق ك ل م ن ه و ي", "ا و ي ا ة", "ن ر ل م د ت ب"),
}
_NO_SPACES = "zh"
LANGUAGES = (*_SOUNDS, _NO_SPACES)

_EMOJI = "😂❤🤣👍😭🙏😘🥰😍😊🎉😁💕🥺😅🔥🤦🤷🙄😆🤗😉🎂🤔👏🙂😳🥳😎👌💜😔💪✨💖👀😋😏😢👉💗😩💯🌹💞🎈💙😃😡💐😜🙈"
_EMOJI_WEIGHTS = tuple(accumulate(1 / (rank + 1) for rank in range(len(_EMOJI))))
_ENDINGS = ("", "", "", "", "", ".", ".", "!", "?", "...")
_SITES = ("example.com", "news.example.org", "video.example.net", "shop.example.com", "maps.example.org")
_LETTERS = "abcdefghijklmnopqrstuvwxyz0123456789-_ABCDEFGHIJKLMNOPQRSTUVWXYZ"


@dataclass(frozen=True, slots=True)
class Language:
    """A vocabulary with phrases, and the cumulative weights to draw from it."""

    name: str
    units: tuple[str, ...]
    cumulative: tuple[float, ...]
    separator: str

    def say(self, rng: random.Random, words: int) -> str:
        """Return about that many words as one line."""
        return self.separator.join(rng.choices(self.units, cum_weights=self.cumulative, k=words))

    def sentence(self, rng: random.Random) -> str:
        """Return a message as people write them: mostly short, sometimes long, sometimes only an emoji."""
        if rng.random() < 0.05:
            return emoji(rng)
        text = self.say(rng, min(100, 1 + int(rng.lognormvariate(1.35, 0.85)))) + rng.choice(_ENDINGS)
        if rng.random() < 0.4:
            text = text[:1].upper() + text[1:]
        return f"{text} {emoji(rng)}" if rng.random() < 0.16 else text

    def name_of(self, rng: random.Random) -> str:
        """Return a name: two rare words, capitalized."""
        return " ".join(rng.choice(self.units[WORDS // 4 : WORDS // 2]).title() for _ in range(2))


@cache
def languages(seed: int) -> dict[str, Language]:
    """Return all languages of a seed."""
    return {name: _language(name, random.Random(f"{seed}/language/{name}")) for name in LANGUAGES}


def _language(name: str, rng: random.Random) -> Language:
    words = list(_words(name, rng))
    separator = "" if name == _NO_SPACES else " "
    # A phrase takes a place among the words that are about as frequent as its own rarest word.
    weighted = [(word, 1 / (rank + 2.7)) for rank, word in enumerate(words)]
    frequent = tuple(accumulate(weight for _, weight in weighted[:1200]))
    for number in range(PHRASES):
        parts = rng.choices(words[:1200], cum_weights=frequent, k=rng.randint(2, 4))
        weighted.append((separator.join(parts), 0.6 / (number + 12)))
    cumulative = tuple(accumulate(weight for _, weight in weighted))
    return Language(name, tuple(unit for unit, _ in weighted), cumulative, separator)


def _words(name: str, rng: random.Random) -> dict[str, None]:
    """Return distinct words, the most frequent first."""
    words: dict[str, None] = {}
    if name == _NO_SPACES:
        signs = [chr(0x4E00 + number) for number in rng.sample(range(0x5000), 2400)]
        weights = tuple(accumulate(1 / (rank + 8) for rank in range(len(signs))))
        while len(words) < WORDS:
            length = 1 if len(words) < 300 else rng.choice((1, 2, 2, 2, 3))
            words["".join(rng.choices(signs, cum_weights=weights, k=length))] = None
        return words
    onsets, vowels, codas = (sounds.split() for sounds in _SOUNDS[name])
    open_syllables = [onset + vowel for onset in onsets for vowel in vowels]
    endings = [*[""] * len(codas), *codas]
    while len(words) < WORDS:
        rank = len(words)
        syllables = 1 if rank < 80 else rng.choice((1, 2, 2)) if rank < 700 else rng.choice((2, 2, 3, 3, 4))
        words["".join(rng.choices(open_syllables, k=syllables)) + rng.choice(endings)] = None
    return words


def emoji(rng: random.Random) -> str:
    """Return one emoji, or one several times."""
    return rng.choices(_EMOJI, cum_weights=_EMOJI_WEIGHTS)[0] * rng.choice((1, 1, 1, 2, 3))


def link(rng: random.Random) -> str:
    """Return an address with an id in it."""
    return f"https://{rng.choice(_SITES)}/{letters(rng, 11)}?s={letters(rng, rng.randint(4, 16))}"


def letters(rng: random.Random, length: int) -> str:
    """Return letters and digits as they stand in addresses and ids."""
    return "".join(rng.choices(_LETTERS, k=length))

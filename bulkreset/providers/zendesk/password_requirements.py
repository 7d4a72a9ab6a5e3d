"""Zendesk's password requirements: free text, a sentence each, turned into a policy.

Phrasings: developer.zendesk.com/api-reference/ticketing/users/user_passwords ("must be at least 5 characters",
"must be different from email address"), the sign-in page's own list ("must be fewer than 128 characters",
"must include letters in mixed case and numbers", "must include a character that is not a letter or number"),
and the settings of a custom level (support.zendesk.com 4408822149018).

The text is the API user's own. End users may have another security level, and other users are not asked one by
one: the policy is therefore never weaker than the strongest form, and the text can only tighten it.
"""

import dataclasses
import re
from collections.abc import Iterable
from typing import Final

from bulkreset.passwords.policy import LONGEST, STRONGEST, Policy
from bulkreset.providers.answers import plain
from bulkreset.providers.base import sanitise

_LONG: Final = r"(\d{1,4}) characters?(?: long)?"
_AT_LEAST = re.compile(rf"(?:be|have|contain) (?:at least|a minimum of) {_LONG}")
_AT_MOST = re.compile(rf"(?:be|have|contain) (?:at most|no more than|not more than|a maximum of) {_LONG}")
_FEWER = re.compile(rf"(?:be|have|contain) (?:fewer|less|shorter) than {_LONG}")
_MAX_RUN = re.compile(
    r"(?:not|not have|not include|not contain|have no) (?:more than )?(\d{1,3}) (?:or more )?"
    r"(?:consecutive|sequential) (?:letters or numbers|letters and numbers|letters|numbers|characters)"
)
_MET_ALREADY = tuple(
    re.compile(pattern)
    for pattern in (
        # Classes of characters: the strongest form has them all.
        r"include (?:a number|numbers|at least one number)(?: \(0-9\))?",
        r"include (?:uppercase and lowercase letters|letters in mixed case)(?: \(a-z and a-z\))?",
        r"include (?:letters in mixed case and numbers|numbers and mixed case letters)",
        r"include a (?:special )?character that is not a letter or number",
        r"include (?:a|at least one) special character(?: \([^)]*\))?",
        # What a random password is not: an address, a name, a former password, a leaked one.
        r"(?:be different from|not (?:resemble|be|include|contain)) (?:your |an? |the )?e-?mail address",
        r"not (?:include|contain) the word \W?zendesk\W?",
        r"be different from (?:the |your )?(?:\d{1,3} )?(?:previous|last) (?:\d{1,3} )?passwords?",
        r"(?:pass a check against|not be on|not be in) a list of known breached passwords",
    )
)


def policy_from(sentences: Iterable[str]) -> Policy:
    """Tighten the strongest form by what the sentences say; `source` names the ones not understood."""
    least, most, run = 0, LONGEST, STRONGEST.max_run
    unknown: list[str] = []
    count = 0
    for sentence in sentences:
        count += 1
        said = plain(sentence).removeprefix("password ").removeprefix("must ").rstrip(".")
        if found := _AT_LEAST.fullmatch(said):
            least = max(least, int(found[1]))
        elif found := _AT_MOST.fullmatch(said):
            most = min(most, int(found[1]))
        elif found := _FEWER.fullmatch(said):
            most = min(most, int(found[1]) - 1)
        elif found := _MAX_RUN.fullmatch(said):
            run = min(run, max(int(found[1]) - (" or more " in said), 1))
        elif not any(pattern.fullmatch(said) for pattern in _MET_ALREADY):
            unknown.append(sanitise(sentence))
    source = f"Zendesk: {count} requirements, all understood"
    if unknown:
        source = f"Zendesk: {count} requirements, not understood: {'; '.join(unknown)}"
    return dataclasses.replace(
        STRONGEST,
        min_length=max(least, min(STRONGEST.min_length, most)),
        max_length=most,
        max_run=run,
        source=sanitise(source),
    )

# letters with combining accents, which take no column of their own
setopt combining_chars
PROMPT=$'re\u0301pe\u0301tition %1~ \u2192\u0305 '

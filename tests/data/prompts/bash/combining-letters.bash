# letters with combining accents, which take no column of their own
PS1=$'re\u0301pe\u0301tition n\u0303 \\W \u2192\u0305 '

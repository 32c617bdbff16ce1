# letters with combining accents, which take no column of their own
function fish_prompt
    echo -n re\u0301pe\u0301tition' '(prompt_pwd)' '\u2192\u0305' '
end

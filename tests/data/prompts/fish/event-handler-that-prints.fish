# a handler on fish_prompt prints a row above the prompt, one on fish_preexec a row under the typed line
function __print_above --on-event fish_prompt
    echo '── ready ──'
end
function __print_below --on-event fish_preexec
    echo '── running ──'
end
function fish_prompt
    echo -n '$ '
end

# the prompt looks like an answer of the echo that was typed
function fish_prompt
    printf 'ok-0 done: exit 0\n> '
end

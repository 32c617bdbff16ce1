# the prompt sets a bar cursor and its colour, preexec sets both back
function __cursor_back --on-event fish_preexec
    printf '\e[0 q\e]112\a'
end
function fish_prompt
    printf '\e[5 q\e]12;orange\a'
    echo -n (prompt_pwd)' ┃ '
end

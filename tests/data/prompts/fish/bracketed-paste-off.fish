# bracketed paste is switched off by hand inside the prompt, against the shell that switches it on
function fish_prompt
    printf '\e[?2004l'
    echo -n 'paste-off '(prompt_pwd)' > '
end

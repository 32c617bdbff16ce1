# handlers on variables: PWD changes write OSC 7 of one's own, and fish_title is a function of one's own
function __own_osc7 --on-variable PWD
    printf '\e]7;file://%s%s\a' (prompt_hostname) (string escape --style=url -- $PWD)
end
function fish_title
    echo "own: "(status current-command)
end
function fish_prompt
    echo -n (prompt_pwd)' ⟩ '
end

# the typed text touches the angle
function fish_prompt
    echo -n (prompt_pwd)'>'
end

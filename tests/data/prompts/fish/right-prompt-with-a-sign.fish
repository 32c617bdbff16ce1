# the right prompt ends in a dollar and a blank like a left one
function fish_prompt
    echo -n '> '
end
function fish_right_prompt
    echo -n (prompt_pwd)' $ '
end

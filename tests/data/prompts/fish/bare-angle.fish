# the prompt is an angle and a blank, like the continuation prompt of other shells
function fish_prompt
    echo -n '> '
end

# nothing on the left, everything in the right prompt
function fish_prompt
end
function fish_right_prompt
    echo -n '< '(prompt_pwd)
end

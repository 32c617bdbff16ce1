# a dollar in the middle of the prompt and an angle at its end
function fish_prompt
    echo -n 'a $ b > '
end

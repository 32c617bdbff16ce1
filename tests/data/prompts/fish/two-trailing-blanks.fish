# two blanks after the sign
function fish_prompt
    echo -n (prompt_pwd)' $  '
end

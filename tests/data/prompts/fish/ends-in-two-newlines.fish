# the prompt ends in two newlines, of which fish keeps one, so one types on an empty row at column 0
function fish_prompt
    printf '%s\n\n' (prompt_pwd)
end

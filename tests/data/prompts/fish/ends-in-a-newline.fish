# the prompt ends in one newline, which fish drops, so the typed text touches the path
function fish_prompt
    printf '%s in %s\n' $USER (prompt_pwd)
end

# colours as raw sequences, 24-bit ones and underlines among them, and none of them closed at the end
function fish_prompt
    printf '\e[38;2;255;120;0m%s\e[4:3m \e[1m❯ ' (prompt_pwd)
end

# emoji, one joined by ZWJ and one with a variation selector; the widths are set by fish_emoji_width
set -g fish_emoji_width 2
function fish_prompt
    echo -n '🐟 '(prompt_pwd)' 👩‍💻 ❤️ ➤ '
end

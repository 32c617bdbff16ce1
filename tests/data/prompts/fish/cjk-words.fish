# full-width words and a full-width angle as the sign
set -g fish_ambiguous_width 1
function fish_prompt
    echo -n '端末 '(prompt_pwd)' 入力＞ '
end

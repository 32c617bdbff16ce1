# an empty row, path and branch, then a lone sign whose colour is the status
function fish_prompt
    set -l last $status
    set -l b (git branch --show-current 2>/dev/null)
    echo
    echo -s (set_color blue) (prompt_pwd) (set_color brblack) " $b" (set_color normal)
    test $last -eq 0; and set_color magenta; or set_color red
    echo -n '❯ '
    set_color normal
end

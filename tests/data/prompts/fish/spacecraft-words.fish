# path and branch as words, an empty row above, a long arrow below
function fish_prompt
    set -l last $status
    set -l b (git branch --show-current 2>/dev/null)
    set -l on
    test -n "$b"; and set on " on "\ue0a0" $b"
    printf '\n%s in %s%s\n' $USER (prompt_pwd) "$on"
    test $last -ne 0; and echo -n "✘ $last "
    echo -n '➜ '
end

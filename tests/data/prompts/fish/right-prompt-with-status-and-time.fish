# fish_right_prompt with status and seconds; it goes away when the typed line comes near
function fish_prompt
    echo -n (prompt_pwd)' » '
end
function fish_right_prompt
    set -l last $status
    test $last -ne 0; and echo -n "✘ $last "
    date '+%H:%M:%S'
end

# a frame of two rows whose upper row is filled with dots up to a right-aligned time, an angle on the lower one
function fish_prompt
    set -l last $status
    set -l left "╭─ "(prompt_pwd)" "
    set -l right " "(date +%H:%M:%S)" ─╮"
    set -l n (math $COLUMNS - (string length --visible -- $left) - (string length --visible -- $right))
    test $n -lt 0; and set n 0
    echo -s $left (string repeat -n $n '·') $right
    test $last -eq 0; and set_color green; or set_color red
    echo -n '╰─❯ '
    set_color normal
end

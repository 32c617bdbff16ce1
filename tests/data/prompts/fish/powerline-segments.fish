# coloured segments joined by powerline triangles, with the branch last
function fish_prompt
    set -l last $status
    set -l tri \ue0b0
    set -l bg 444444
    if test $last -ne 0
        echo -n -s (set_color -b red white) " ✘ $last " (set_color -b $bg red) $tri
    end
    echo -n -s (set_color -b $bg white) " $USER " (set_color -b 005faf $bg) $tri (set_color white) ' ' (prompt_pwd) ' '
    set -l b (git rev-parse --abbrev-ref HEAD 2>/dev/null)
    if test -n "$b"
        echo -n -s (set_color -b afd700 005faf) $tri (set_color black) " $b " (set_color normal) (set_color afd700) $tri
    else
        echo -n -s (set_color normal) (set_color 005faf) $tri
    end
    echo -n -s (set_color normal) ' '
end

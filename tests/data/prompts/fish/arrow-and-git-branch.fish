# an arrow green or red by status, the last directory, git:(branch) and a cross when dirty
function fish_prompt
    set -l last $status
    test $last -eq 0; and set_color -o green; or set_color -o red
    echo -n '➜  '
    set_color normal
    set_color cyan
    echo -n (string replace -r '.*/' '' -- $PWD)' '
    set -l b (git symbolic-ref --short HEAD 2>/dev/null)
    if test -n "$b"
        echo -n -s (set_color -o blue) 'git:(' (set_color red) $b (set_color blue) ') '
        test -n "$(git status --porcelain 2>/dev/null)"; and echo -n -s (set_color yellow) '✗ '
    end
    set_color normal
end

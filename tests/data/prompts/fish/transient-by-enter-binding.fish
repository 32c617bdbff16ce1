# Enter is bound to a function of one's own that repaints the two-row prompt as a short sign and then executes
set -g __short 0
function fish_prompt
    if test $__short = 1
        set -g __short 0
        printf '\e[J❯ '
    else
        printf '\n%s at %s\n❯❯ ' (prompt_pwd) (date +%H:%M:%S)
    end
end
function __enter_short
    if commandline --is-valid
        set -g __short 1
        commandline -f repaint
    end
    commandline -f execute
end
bind \r __enter_short
bind \n __enter_short

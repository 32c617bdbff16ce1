# the clock is in the right prompt and repainted once a second by a signal, the left prompt stays
function __tick --on-signal SIGUSR2
    commandline -f repaint
end
function fish_prompt
    echo -n (prompt_pwd)' λ '
end
function fish_right_prompt
    date +%H:%M:%S
end
command sh -c 'while kill -USR2 "$1" 2>/dev/null; do sleep 1; done' sh $fish_pid </dev/null >/dev/null 2>&1 &
disown $last_pid

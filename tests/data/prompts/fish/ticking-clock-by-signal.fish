# a background loop sends USR1 each second, the handler repaints the prompt with its clock
function __tick --on-signal SIGUSR1
    commandline -f repaint
end
function fish_prompt
    echo -n (date +%H:%M:%S)' '(prompt_pwd)' > '
end
command sh -c 'while kill -USR1 "$1" 2>/dev/null; do sleep 1; done' sh $fish_pid </dev/null >/dev/null 2>&1 &
disown $last_pid

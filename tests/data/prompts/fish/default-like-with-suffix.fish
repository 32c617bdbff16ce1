# the default of a plain install: user@host, a short path, a status in brackets after a failure and an angle
function fish_prompt
    set -l last $status
    set -l mark '>'
    set -l tail ''
    test $last -ne 0; and set tail " [$last]"
    echo -n -s $USER @ (prompt_hostname) ' ' (set_color green) (prompt_pwd) (set_color normal) $tail $mark ' '
end

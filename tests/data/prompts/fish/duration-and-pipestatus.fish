# the seconds the last command took and the whole pipestatus, which must be read before anything else runs
function fish_prompt
    set -l pipes $pipestatus
    set -l took (math --scale=1 $CMD_DURATION / 1000)
    echo -n -s '[' (string join '|' $pipes) "] $took s " (prompt_pwd) ' ⋊> '
end

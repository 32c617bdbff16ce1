# functions of one's own on the events fish_prompt, fish_preexec, fish_postexec and fish_cancel
set -g __ev_count 0
function __ev_prompt --on-event fish_prompt
    set -g __ev_count (math $__ev_count + 1)
end
function __ev_pre --on-event fish_preexec
    set -g __ev_last "$argv"
end
function __ev_post --on-event fish_postexec
    set -g __ev_rc $status
end
function __ev_cancel --on-event fish_cancel
    set -g __ev_cancelled 1
end
function fish_prompt
    echo -n "$__ev_count rc=$__ev_rc > "
end

# OSC 133 A and B inside the prompt, C and D from preexec and postexec handlers
function __m_c --on-event fish_preexec
    printf '\e]133;C\a'
end
function __m_d --on-event fish_postexec
    printf '\e]133;D;%s\a' $status
end
function fish_prompt
    printf '\e]133;A\a%s > \e]133;B\a' (prompt_pwd)
end

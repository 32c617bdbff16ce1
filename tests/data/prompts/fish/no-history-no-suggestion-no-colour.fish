# fish_history is empty (private), autosuggestions and highlighting are off
set -g fish_history ''
set -g fish_autosuggestion_enabled 0
set -g fish_color_command normal
set -g fish_color_error normal
function fish_prompt
    echo -n (prompt_pwd)' $ '
end

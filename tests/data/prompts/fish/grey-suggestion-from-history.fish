# autosuggestions are on: grey text stands behind the cursor that nobody has typed
set -g fish_autosuggestion_enabled 1
set -g fish_color_autosuggestion 555
function fish_prompt
    echo -n (prompt_pwd)' ❯ '
end

# vi keys with an empty mode prompt; only the shape of the cursor tells the mode
set -g fish_key_bindings fish_vi_key_bindings
set -g fish_cursor_default block
set -g fish_cursor_insert line
set -g fish_cursor_replace_one underscore
set -g fish_vi_force_cursor 1
function fish_mode_prompt
end
function fish_prompt
    echo -n (prompt_pwd)' ▌ '
end

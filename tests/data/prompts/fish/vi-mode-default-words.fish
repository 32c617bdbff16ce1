# vi keys with the mode prompt that comes with the shell, [I] and [N] in front
set -g fish_key_bindings fish_vi_key_bindings
function fish_prompt
    echo -n (prompt_pwd)' > '
end

# vi keys and a fish_mode_prompt of one's own, with no blank behind it
set -g fish_key_bindings fish_vi_key_bindings
function fish_mode_prompt
    switch $fish_bind_mode
        case default
            echo -n '[N]'
        case insert
            echo -n '[I]'
        case '*'
            echo -n '[V]'
    end
end
function fish_prompt
    echo -n (prompt_pwd)'$ '
end

# emacs keys inside vi insert mode, the mode stands in the right prompt
function fish_user_key_bindings
    fish_default_key_bindings -M insert
    fish_vi_key_bindings --no-erase insert
end
fish_user_key_bindings
function fish_mode_prompt
end
function fish_right_prompt
    echo -n "-- $fish_bind_mode --"
end
function fish_prompt
    echo -n (prompt_pwd)' # '
end

# a virtual environment has put (venv) in front by copying fish_prompt to another name and wrapping it
set -gx VIRTUAL_ENV $HOME/venv
function fish_prompt
    echo -n "rc=$status "(prompt_pwd)' > '
end
functions -c fish_prompt _old_fish_prompt
function __give_status
    return $argv[1]
end
function fish_prompt
    set -l old_status $status
    echo -n -s (set_color 4B8BBE) '(venv) ' (set_color normal)
    __give_status $old_status
    _old_fish_prompt
end

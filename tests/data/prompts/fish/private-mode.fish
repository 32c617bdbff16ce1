# private mode: nothing typed is kept, and commands with a blank in front are as good as others
set -g fish_private_mode 1
function fish_prompt
    echo -n '(private) '(prompt_pwd)' > '
end

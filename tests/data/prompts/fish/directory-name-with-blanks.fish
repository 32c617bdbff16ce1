# a made-up directory name with blanks and a dollar, then the full path with nothing shortened
function fish_prompt
    set -g fish_prompt_pwd_dir_length 0
    echo -n '~/My Documents/price in $ list ['(prompt_pwd)'] > '
end

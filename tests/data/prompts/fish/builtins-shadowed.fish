# echo and cd are functions of one's own; a hook that needs the real ones must say builtin
function echo
    builtin echo $argv
end
function cd
    builtin cd $argv
    and set -g __dirs_seen $__dirs_seen $PWD
end
function fish_prompt
    builtin echo -n 'shadow '(count $__dirs_seen)' > '
end

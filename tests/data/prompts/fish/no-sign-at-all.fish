# a word and a blank, no sign whatever
function fish_prompt
    echo -n 'ready '
end

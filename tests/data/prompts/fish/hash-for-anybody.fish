# a hash and a blank for anybody, not only for root
function fish_prompt
    echo -n '# '
end
